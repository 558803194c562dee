"""Tokens of services, in the forms that their own pages document: which are masked where they stand alone, and which are not."""

from __future__ import annotations

import random
import re
import string

import pytest

from cascade.interfaces import Redactor

mask = Redactor().mask
ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "w": string.ascii_letters + string.digits + "_-",
    "u": string.ascii_uppercase + string.digits,
    "h": "0123456789abcdef",
    "d": string.digits,
}

# By the page of the service. <w20>: 20 characters of A-Z a-z 0-9 _ -; a: without _ and -; u: upper case; h: hex; d: digits.
SERVICES: dict[str, tuple[str, ...]] = {
    "https://core.telegram.org/bots/api#authorizing-your-bot": (
        "https://api.telegram.org/bot<d9>:<w35>/getMe",
        "https://api.telegram.org/file/bot<d9>:<w35>/x",
        "<d9>:AA<w33>",
    ),
    "https://api.slack.com/messaging/webhooks": (
        "https://hooks.slack.com/services/T<u8>/B<u8>/<a24>",
        "https://hooks.slack.com/triggers/T<u8>/<d13>/<h32>",
    ),
    "https://api.slack.com/concepts/token-types": ("xoxb-<d12>-<d12>-<a24>", "xoxp-<d12>-<d12>-<h32>"),
    "https://discord.com/developers/docs/resources/webhook": ("https://discord.com/api/webhooks/<d18>/<w68>",),
    "https://discord.com/developers/docs/reference#authentication": ("M<w23>.<w6>.<w27>",),
    "https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook": (
        "https://acme.webhook.office.com/webhookb2/<h32>@<h32>/IncomingWebhook/<h32>",
    ),
    "https://platform.openai.com/docs/api-reference/authentication": ("sk-<a48>", "sk-proj-<w40>T3BlbkFJ<w40>"),
    "https://docs.anthropic.com/en/api/overview": ("sk-ant-api03-<w93>AA",),
    "https://docs.gitlab.com/security/tokens/#token-prefixes": (
        *(f"{prefix}-<w20>" for prefix in ("glpat", "gloas", "gldt", "glrt", "glcbt", "glptt", "glft", "glimt")),
        *("glagent-<w50>", "glsoat-<w20>", "glffct-<w20>", "glpat-<w27>.01.<a9>"),
    ),
    "https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github": (
        *("ghp_<a36>", "gho_<a36>", "ghu_<a36>", "ghs_<a36>", "ghr_<a36>", "github_pat_<a22>_<a59>"),
    ),
    "https://cloud.google.com/docs/authentication/api-keys": ("AIza<w35>",),
    "https://developers.google.com/identity/protocols/oauth2": ("GOCSPX-<w28>", "ya29.<w60>"),
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html": ("AKIA<u16>", "ASIA<u16>"),
    "https://docs.stripe.com/keys": ("sk_live_<a24>", "rk_live_<a24>", "sk_test_<a24>", "whsec_<a32>"),
    "npm, the page About access tokens": ("npm_<a36>",),
    "the Python package index, help on API tokens": ("pypi-AgEIcHlwaS5vcmc<w70>", "pypi-AgENdGVzdC5weXBpLm9yZw<w70>"),
    "https://huggingface.co/docs/hub/security-tokens": ("hf_<a34>",),
    "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys": ("SG.<w22>.<w43>",),
    "https://shopify.dev/docs/apps/build/authentication-authorization": ("shpat_<h32>", "shpss_<h32>", "shpca_<h32>"),
    "https://developer.squareup.com/docs/build-basics/access-tokens": ("sq0atp-<w22>", "sq0csp-<w43>", "EAAA<a60>"),
    "https://docs.digitalocean.com/reference/api/": ("dop_v1_<h64>", "doo_v1_<h64>", "dor_v1_<h64>"),
    "https://developer.hashicorp.com/vault/docs/concepts/tokens": ("hvs.<w90>", "hvb.<w140>", "hvr.<w90>"),
    "https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens": ("<a14>.atlasv1.<w67>",),
    "https://docs.databricks.com/dev-tools/auth/pat": ("dapi<h32>",),
    "https://linear.app/developers/graphql": ("lin_api_<a40>",),
    "https://developers.notion.com/reference/authentication": ("ntn_<a46>",),
    "https://docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys/": ("NRAK-<u27>",),
    "https://grafana.com/docs/grafana/latest/administration/service-accounts/": ("glsa_<a32>_<h8>",),
    "https://docs.sentry.io/account/auth-tokens/": ("sntrys_<a70>", "sntryu_<h64>"),
    "https://learning.postman.com/docs/developer/postman-api/authentication/": ("PMAK-<h24>-<h34>",),
    "https://support.atlassian.com/atlassian-account/docs/manage-api-tokens-for-your-atlassian-account/": ("ATATT3<w180>",),
    "https://docs.docker.com/security/access-tokens/": ("dckr_pat_<w27>", "dckr_oat_<w32>"),
    "https://guides.rubygems.org/api-key-scopes/": ("rubygems_<h48>",),
    "https://age-encryption.org/v1": ("AGE-SECRET-KEY-1<u58>",),
    "https://www.pulumi.com/docs/pulumi-cloud/access-management/access-tokens/": ("pul-<h40>",),
    "https://docs.doppler.com/reference/auth-token-formats": ("dp.pt.<a43>", "dp.st.prd.<a43>", "dp.scim.<a43>"),
    "https://www.figma.com/developers/api#access-tokens": ("figd_<w40>",),
    "https://devcenter.heroku.com/articles/authentication": ("HRKU-<w60>",),
    "https://supabase.com/docs/reference/api/introduction": ("sbp_<h40>",),
    "https://planetscale.com/docs/concepts/service-tokens": ("pscale_tkn_<w43>", "pscale_pw_<w43>"),
    "https://mailchimp.com/developer/marketing/guides/quick-start/": ("<h32>-us21",),
    "https://documentation.mailgun.com/docs/mailgun/api-reference/authentication/": ("key-<h32>",),
    "https://jfrog.com/help/r/jfrog-platform-administration-documentation/api-key": ("AKC<a70>",),
    "https://developers.facebook.com/docs/facebook-login/guides/access-tokens": ("EAA<a100>",),
    "https://www.dropbox.com/developers/documentation/http/documentation": ("sl.<w130>",),
    "https://airtable.com/developers/web/api/authentication": ("pat<a14>.<h64>",),
    "https://developer.okta.com/docs/reference/core-okta-api/": ("Authorization: SSWS 00<w40>",),
    "https://www.django-rest-framework.org/api-guide/authentication/#tokenauthentication": ("Token <h40>",),
    "https://www.rfc-editor.org/rfc/rfc6265#section-4.2": ("Cookie: theme=dark; sid=<a24>", "cookie: a=b; c=d; x=<h32>"),
    "https://curl.se/docs/manpage.html#-u": ("curl -u ada:<a12> https://h", "curl --user ada:<a12> https://h"),
    "https://yaml.org/spec/1.2.2/#81-block-scalar-styles": (
        "password: |\n  <a12> <a12>\n  <a12>\n", "client_secret: >-\n  <a12>\n  <a12>\nuser: ada", "token: |2\n   <a20>"
    ),
}  # fmt: skip

# Services whose secrets have no form of their own: masked only where a name such as `password=` stands before.
MISSES = {
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html": "<a40>",
    "https://www.twilio.com/docs/iam/access-tokens": "<h32>",
    "https://docs.datadoghq.com/account_management/api-app-keys/": "<h32>",
    "https://developers.cloudflare.com/fundamentals/api/get-started/create-token/": "<a40>",
    "https://www.algolia.com/doc/guides/security/api-keys/": "<h32>",
    "https://learn.microsoft.com/azure/storage/common/storage-account-keys-manage": "<a86>==",
    "https://devcenter.heroku.com/articles/platform-api-quickstart": "<h8>-<h4>-<h4>-<h4>-<h12>",
}

# What the plugins of detect-secrets 1.5 look for (https://github.com/Yelp/detect-secrets#plugins); "": not masked.
FOREIGN = {
    "artifactory": "AKC<a70>", "aws": "AKIA<u16>", "azure_storage_key": "AccountKey=<a86>==", "basic_auth": "https://ada:<a12>@host",
    "cloudant": "https://user:<h64>@user.cloudant.com", "discord": "M<w23>.<w6>.<w27>", "github_token": "ghp_<a36>",
    "gitlab_token": "glpat-<w20>", "high_entropy_strings": "", "ibm_cloud_iam": "ibm_cloud_iam_api_key=<w44>",
    "ibm_cos_hmac": "cos_hmac_secret_access_key = <h48>", "ip_public": "", "jwt": "eyJ<a20>.eyJ<a20>.<w43>", "keyword": "password = <a12>",
    "mailchimp": "<h32>-us21", "npm": "//registry.example.org/:_authToken=npm_<a36>", "openai": "sk-<a20>T3BlbkFJ<a20>",
    "private_key": "-----BEGIN EC PRIVATE KEY-----\n<a64>\n-----END EC PRIVATE KEY-----", "pypi_token": "pypi-AgEIcHlwaS5vcmc<w70>",
    "sendgrid": "SG.<w22>.<w43>", "slack": "xoxb-<d12>-<a24>", "softlayer": "softlayer_api_key=<h64>",
    "square_oauth": "sq0csp-<w43>", "stripe": "sk_live_<a24>", "telegram_token": "<d9>:AA<w33>", "twilio": "",
}  # fmt: skip


def made(form: str, chance: random.Random) -> tuple[str, list[str]]:
    """Return a text of a form, and the random parts of it that must not remain: those from 12 characters on."""
    secrets: list[str] = []

    def fill(found: re.Match[str]) -> str:
        text = "".join(chance.choice(ALPHABETS[found[1]]) for _ in range(int(found[2]) - 1)) + "7"
        secrets.append(text)
        return text

    text = re.sub(r"<([awuhd])(\d+)>", fill, form)
    return text, [
        each for each in secrets if len(each) >= 12 and not (each.isdecimal() and "/webhooks/" in form)
    ]


@pytest.mark.parametrize("page", SERVICES, ids=lambda page: re.sub(r"\W+", "-", page[8:])[:60])
def test_a_documented_token_is_masked_wherever_it_stands(page: str, seeded_random: random.Random) -> None:
    """Alone, in a sentence, quoted, and in a URL's path."""
    for form in SERVICES[page]:
        for _ in range(20):
            text, secrets = made(form, seeded_random)
            for around in ("{}", "HTTPError: 401 for {} at 12:00", "'{}'", '{{"value": "{}"}}', "x={}"):
                shown = mask(around.format(text))
                assert [each for each in secrets if each in shown] == [], (form, shown)


def test_what_has_no_form_is_masked_by_its_name_only(seeded_random: random.Random) -> None:
    """Seven services: such a text could as well be a digest or the id of a run."""
    assert len(MISSES) == 7
    for form in MISSES.values():
        text, _ = made(form, seeded_random)
        assert mask(f"refused {text} here") == f"refused {text} here"
        assert mask(f"api_key={text} here") == "api_key=*** here"


def test_of_a_foreign_list_all_but_three_are_masked(seeded_random: random.Random) -> None:
    """The three: any text of high entropy, public addresses, and the ids (not the tokens) of Twilio."""
    missed = {name for name, form in FOREIGN.items() if not form}
    for name, form in FOREIGN.items():
        text, secrets = made(form, seeded_random)
        if any(each in mask(f"error: {text}") for each in secrets):
            missed.add(name)
    assert (len(FOREIGN), missed) == (26, {"high_entropy_strings", "ip_public", "twilio"})


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-pipeline-stage-one-two-three", "pypi-attestations-of-the-package-cascade", "npm_config_registry_of_the_user",
        "measure_the_pressure_of_hall_2:0[33]: OSError", "token expired while waiting for the answer", "token_of_the_press is missing",
        "run 95408dd0aa02c43d9172aa170f901e05 ended", "mid-update of the user's files", "hooks.slack.com is not reached",
        "2026-11-21T03:00:20.269270+00:00", "https://discord.com/api/webhooks is down", "cascade/telemetry/local/default/9a81/events",
    ],
)  # fmt: skip
def test_what_only_resembles_a_token_stays(text: str) -> None:
    """Names of packages, tasks, runs and topics, and sentences about tokens."""
    assert mask(text) == text
