"""What of a text may leave the process or be logged: no secret, and of an error one short line."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces import ConfigurationError, Redactor, describe

one_line = Redactor().one_line
mask = Redactor().mask

SECRET = st.text("ABCDEFGHJKMNPQRSTUVWXYZ23456789", min_size=8, max_size=24).map(lambda text: f"ZQ7{text}")

FORMS = [
    "password={}", "password = {}", "password: {}", "Password:{}", "PASSWORD={}", "PGPASSWORD={}", "DB_PASS={}",
    "dbPassword={}", "passwd={}", "pwd:{}", "passphrase: {}", "'password': '{}'", '"password": "{}"',
    '"password": "two words {}"', "b'password': b'{}'", '{{\\"password\\": \\"{} x\\"}}', "password='it\\'s {}'",
    "password%3D{}", "password => {}", "token := {}", "secret_key={}", "client-secret: {}", "api_key={}", "apiKey: {}",
    "x-api-key: {}", "AccountKey={}==;EndpointSuffix=core", "AWS_SECRET_ACCESS_KEY={}", "access_token={}",
    "refresh_token ={}", "credentials: {}", "Authorization: {}", "Authorization: Bearer {}",
    "Authorization: Basic {}==", "'Authorization: token {}'", "('Authorization', 'Bearer {}')", "Cookie: sid={}",
    "Set-Cookie: {}; Path=/", "['mysql', '--password', '{}']", "mysql --password {} -u ada", "--db-token={}",
    'os.environ["PASSWORD"] = "{}"', "passwords=['a', '{}']", "tokens=('a', '{}')", "<password>{}</password>",
    "Bearer {}", "bearer {}.{}", "Basic {}=", "amqp://guest:{}@host:5672/x", "amqp://guest:pa/{}@host",
    "https://{}@github.com/x", "https://h/p?token={}&x=1", "https://h:8080/p?x=1&sig={}&y=2", "/p?x&key={}",
    "https://h/p?X-Amz-Signature={}", "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\\n{}", "eyJ{}.eyJ{}.{}", "AKIA{}", "ghp_{}", "gho_{}", "github_pat_{}", "xoxb-{}-{}",
]  # fmt: skip


@given(st.text(st.characters(), max_size=3000))
def test_any_text_becomes_one_line(text: str) -> None:
    """Any message becomes one line of printable text of up to 500 characters."""
    line = one_line(text)
    assert len(line) <= 500
    assert line.isprintable() or not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line)
    assert len(line.splitlines()) <= 1
    line.encode()


@given(st.text("abc:/", max_size=40), st.integers(0, 3000), st.text("xyz", min_size=6, max_size=12))
def test_no_cut_shows_a_password(before: str, padding: int, password: str) -> None:
    """Credentials in a URL are masked, wherever they are in the text and wherever it is cut."""
    text = before + " " * padding + f"amqp://user:{password}@host/path"
    assert password not in one_line(text)
    assert password[:4] not in one_line(text)


def test_a_whole_url_stays_where_the_text_behind_it_was_cut() -> None:
    """White space ends it: no password can follow that belongs to it."""
    text = "amqp://host:5672 refused " + " " * 10_000 + "x"
    assert one_line(text).startswith("amqp://host:5672 refused")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_secret_is_masked_in_every_form(form: str, data: Any) -> None:
    """The secret is gone, the text around it stays, and masking twice changes nothing more."""
    secret = data.draw(SECRET)
    text = f"ValueError: before {form.format(*[secret] * 3)}"
    masked = mask(text)
    assert secret not in masked
    assert masked.startswith("ValueError: before ")
    assert "***" in masked
    assert mask(masked) == masked
    assert secret not in one_line(text)


@pytest.mark.parametrize("form", [form for form in FORMS if " x" not in form])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_cut_shows_a_secret(form: str, data: Any) -> None:
    """A text is read up to 2,000 characters; half a secret at that place is masked as a whole one is."""
    secret = data.draw(SECRET)
    text = form.format(*[secret] * 3)
    cut = data.draw(st.integers(text.index(secret) + 6, len(text)))
    # The first half of the text is a secret too, so that its end comes into the visible 500 characters.
    start = f"password={'Q' * (2000 - cut - len('password= '))} "
    assert secret[:6] not in one_line(start + text + " and more")


@given(
    st.recursive(
        st.integers(), lambda inner: st.dictionaries(st.sampled_from(["a", "b"]), inner, min_size=1)
    ),
    SECRET,
)
def test_a_secret_is_masked_in_a_repr_and_in_json(value: Any, secret: str) -> None:
    """A dictionary in an error's text shows its other items, and not the one named like a secret."""
    shown = {"user": "ada", "db_password": secret, "value": value}
    for text in (repr(shown), json.dumps(shown), json.dumps(json.dumps(shown)), str(ValueError(shown))):
        assert secret not in mask(text)
        assert "ada" in mask(text)
    assert secret not in mask(quote(f"password={secret}"))


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'password'", "no password was given", "check user name, password", "monkey: banana",
        "passed: 12, failed: 3", "the compass: north", "bypass=1", "secretary: Ann", "the tokenizer: bpe",
        "Basic authentication is off", "a bearer token is missing", "no key=3", "right=1, high=2",
        "see https://github.com/a/b@v1 and http://host:80/a@b", "FileNotFoundError: no such file: 'a?b=c&d'",
        "unexpected keyword argument 'token'", "run r1 was cancelled: run:r1 is cancelled (a/b/@cancel)",
    ],
)  # fmt: skip
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    """Names of secrets alone are not masked, nor are names that only resemble them."""
    assert mask(text) == one_line(text) == text


@given(st.text(max_size=300))
def test_masking_is_idempotent(text: str) -> None:
    """A masked text can pass through a second redactor, as a log line of an error may."""
    assert mask(mask(text)) == mask(text)


def test_a_user_adds_names() -> None:
    """A part of a name is enough, without distinction of case; characters of patterns mean themselves."""
    mine = Redactor(names=["iban", "a+b"])
    assert mine.mask("customer_IBAN: DE123, password: x") == "customer_IBAN: *** password: ***"
    assert mine.mask("a+b=1 aab=1") == "a+b=*** aab=1"
    assert mask("customer_IBAN: DE123") == "customer_IBAN: DE123"


def test_a_user_adds_patterns() -> None:
    """A pattern covers a word; punctuation at its end does not count."""
    mine = Redactor(patterns=["cust-*", "??-[0-9][0-9]"])
    assert (
        mine.mask("no cust-4711, 'cust-x': (cust-12) xcust-1 DE-12.") == "no ***, '***': (***) xcust-1 ***."
    )
    assert "cust-4711" not in mine.one_line("a" * 1980 + " cust-4711 is cut")
    assert "cust-4" not in mine.one_line("password=" + "a" * 1980 + " cust-4711 is cut")


def test_two_redactors_merge() -> None:
    """The merged one masks what either masks; equal ones merge to the same object."""
    left, right = Redactor(names=["iban"]), Redactor(patterns=["cust-*"])
    both = left.merged(right)
    assert both.mask("iban=1 cust-2") == "iban=*** ***"
    assert left.merged(Redactor(names=["iban"])) is left
    assert both == right.merged(left) != left
    assert hash(both) == hash(right.merged(left))
    assert left != 1
    assert "iban" in repr(left)


@pytest.mark.parametrize("setting", ["names", "patterns"])
def test_redactors_merge_however_much_they_mask_together(setting: str) -> None:
    """Each was checked when it was made: that of a second engine must not make its run fail."""
    all_of: list[Redactor] = [
        Redactor(**{setting: [f"{part}{n}" for n in range(100)]}) for part in ("iban-", "cust-", "line-")
    ]
    both = all_of[0].merged(all_of[1]).merged(all_of[2])
    words = [f"{part}{n}" for part in ("iban-", "cust-", "line-") for n in (0, 99)]
    text = " ".join(words if setting == "patterns" else (f"{word}=1" for word in words))
    masked = both.mask(text).split()
    assert masked == (["***"] * 6 if setting == "patterns" else [f"{word}=***" for word in words])
    assert len(getattr(both, setting)) == 300
    for each in all_of:
        assert both.merged(each) is both


@pytest.mark.parametrize("setting", ["names", "patterns"])
@pytest.mark.parametrize("wrong", ["text", [""], [" "], [1], ["x" * 201], ["x"] * 101])
def test_a_wrong_name_or_pattern_is_refused(setting: str, wrong: Any) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=rf"Redactor\({setting}=\)"):
        Redactor(**{setting: wrong})


HOSTILE = [
    "password", "password ", "password=", 'password="', "password='\\", "password=[", "password\\", "--password-",
    "-----BEGIN A-----", "-----BEGIN ", "Bearer ", "basic  ", "eyJ.", "eyJaaaa", "AKIA", "ghp_", "xoxb-", "://", "://a:",
    "://:", "?key=", "&sig", "https://a", "token=Bearer ", "('password', ", "<token>", "a*", "aa-", "api_key-" * 3, "\\",
    "password: | ", "password: | a", "password: |a b:c ", "cookie: a=b; ", "cookie: a;", "Token a", "-u a", "-u a:", "sk-", "sk-aaaaaaaaaaaaaaaaaaaaa",
    "glpat-a.", "hooks.slack.com/services/", "api.telegram.org/bot", "M" + "a" * 30 + ".", "1:AA", "a" * 14 + ".atlasv1.", "dp.", "SG.a.",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_the_time_grows_with_the_length_only(part: str) -> None:
    """A hostile text of 100,000 characters is masked soon: with a quadratic pattern the test would run for hours."""
    mine = Redactor(names=["iban"], patterns=["*a*a*a*b", "*?*?*-"])
    text = "password " + part * (100_000 // len(part))
    mine.mask(text)
    mine.mask(f"{text} ")
    assert len(mine.one_line(text)) <= 500


def test_an_error_whose_str_raises_is_still_described() -> None:
    """A ``__str__`` that raises does not hide the failure."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert describe(Odd()) == "Odd: <its message could not be made>"
    assert describe(ValueError()) == "ValueError"


@pytest.mark.parametrize("separator", ["", "_", "-"])
@pytest.mark.parametrize(
    "word",
    [
        "access",
        "account",
        "api",
        "auth",
        "encryption",
        "license",
        "master",
        "private",
        "session",
        "shared",
        "signing",
        "ssh",
        "storage",
    ],
)
def test_every_kind_of_key_is_masked(word: str, separator: str) -> None:
    """A name such as ``private_key``, in any spelling; a key that is not one of these is a plain word."""
    for name in (f"{word}{separator}key", f"{word}{separator}Key".upper()):
        assert mask(f"{name}=S3cr3tValue") == f"{name}=***"
    assert mask("sort_key=S3cr3tValue") == "sort_key=S3cr3tValue"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "pwd",
        "secret",
        "token",
        "credential",
        "authorization",
        "cookie",
        "pass",
    ],
)
def test_every_name_of_a_secret_is_masked(name: str) -> None:
    assert mask(f"{name}=S3cr3tValue") == f"{name}=***"


@pytest.mark.parametrize("length", [0, 99, 100, 101, 400, 500, 501, 1_999, 2_000, 2_001, 5_000])
@pytest.mark.parametrize("most", [100, 500, 1_000, 3_000])
def test_a_line_is_as_long_as_its_bound_allows(length: int, most: int) -> None:
    """Whatever the length of the text: at most 2,000 characters are read; what is cut ends with an ellipsis."""
    line = one_line("x" * length, most=most)
    read = min(length, 2_000)
    assert len(line) == min(read, most)
    assert line == ("x" * read if read <= most else "x" * (most - 1) + "…")


@pytest.mark.parametrize(
    ("tail", "shown"),
    [
        ("amqp://guest:pa", "amqp://***"),
        ("https://token", "https://***"),
        ("https://host:80/p", "https://***"),
        ("https://host/path", "https://host/path"),
        ("https://u:p@host/a", "https://***@host/a"),
        ("see https://host now", "see https://host now"),
        ("a://x b://user", "a://x b://***"),
        ("plain words", "plain words"),
    ],
)
def test_half_an_address_at_the_place_of_the_cut_is_masked_where_it_may_hold_a_secret(
    tail: str, shown: str
) -> None:
    """What follows would show whether it does. With patterns of the user the last word may be half of one."""
    text = "a " * 1_000 + tail
    text = text[-2_000:] + "and more"
    assert one_line(text, most=9_000).endswith(f" {shown}")
    mine = Redactor(patterns=["cust-*"]).one_line(text, most=9_000)
    *before, last = shown.split()
    assert mine.split()[-len(shown.split()) :] == [*before, last if last.endswith("://***") else "***"]
    assert one_line(text[:2_000], most=9_000) == mask(text[:2_000].strip())


def test_an_error_is_described_by_its_type_and_what_observers_may_see() -> None:
    """A long message is cut, and its line knows that; a message of Cascade has no values."""
    assert describe(ValueError("no")) == "ValueError: no"
    assert (
        describe(ConfigurationError("n", "needs a number", value="S3cr3t"))
        == "ConfigurationError: n: needs a number"
    )
    assert describe(ValueError("x" * 2_000)) == "ValueError: " + "x" * 2_000
    long = describe(ValueError("x" * 9_000))
    assert 2_000 < len(long) < 2_100
    half = describe(ValueError("a " * 995 + "amqp://guest:secret@host"))
    assert "guest" not in one_line(half, most=9_000)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password='a b', user='c'", "password=***, user='c'"),
        ('password="a \\" b" user', "password=*** user"),
        ("tokens=['a', 'b'] user", "tokens=*** user"),
        ("mysql --password a -u ada", "mysql --password *** -u ada"),
        ("('Authorization', 'Bearer x'), 1", "('Authorization', ***), 1"),
        ("<password>x</password>", "<password>***"),
        ("Authorization: Bearer abc rest", "Authorization: *** rest"),
        ("Bearer abcdef rest", "Bearer *** rest"),
        ("https://u:p@host/x?sig=1&y=2", "https://***@host/x?sig=***&y=2"),
        ("amqp://guest:pa/ss@host/x", "amqp://***@host/x"),
        ("AKIAABCDEFGH rest", "*** rest"),
        ("ghp_abcdefgh rest", "*** rest"),
        ("xoxb-1-2 rest", "*** rest"),
        ("eyJhbGci.eyJz.sig rest", "*** rest"),
        ("-----BEGIN KEY-----\na\n-----END KEY----- rest", "*** rest"),
        ("api_key: *** and more", "api_key: *** and more"),
        ("PASSWORD%3Dabc", "PASSWORD%3D***"),
        ("token => abc, x", "token => *** x"),
    ],
)
def test_what_stands_around_a_secret_stays(text: str, masked: str) -> None:
    """Its name, its separator, and what follows: a message still says what has happened."""
    assert mask(text) == masked


def test_a_word_that_a_user_masks_ends_where_a_word_ends() -> None:
    """A pattern covers a whole word, with the punctuation that belongs to it or without."""
    mine = Redactor(patterns=["cust-*", "wow!"])
    assert (
        mine.mask("cust-1, cust-2; (cust-3) [cust-4] cust-5=x cust-6.") == "***, ***; (***) [***] ***=x ***."
    )
    assert mine.mask("so wow! wow acust-1") == "so ***! wow acust-1"
    assert Redactor(patterns=["a?c", "[xy]1"]).mask("abc ac x1 z1 ABC") == "*** ac *** z1 ABC"
