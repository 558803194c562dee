"""Token forms of services: a prefix of the service, and a long random part. No I/O.

``tests/test_token_forms.py`` names the page of each service.
"""

SHORTEST = 20
"""Characters without a break that each of these forms has: a text without so many needs no further search."""

# A group, where there is one, is not masked. Each form ends with its repetition, so that the time grows with the length only.
PATTERN = r"""
(   hooks\.slack\.com/(?:services|workflows|triggers)/
|   discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{1,20}/
|   \.webhook\.office\.com/webhookb2/
) [^\s"'<>]+
|   (api\.telegram\.org/(?:file/)?bot) [^\s"'<>/]+
|   (?<![A-Za-z0-9])
(?: (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}
|   whsec_[A-Za-z0-9+/=]{20,}
|   sk-(?=[A-Za-z_-]{0,200}\d)[\w-]{20,}
|   gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct|wt)-[\w.-]{16,}
|   gl(?:sa|c)_[\w=/+-]{20,}
|   AIza[\w-]{30,}
|   GOCSPX-[\w-]{20,}
|   ya29\.[\w.-]{20,}
|   npm_[A-Za-z0-9]{20,}
|   pypi-AgE[\w-]{16,}
|   hf_[A-Za-z0-9]{20,}
|   SG\.[\w-]{16,}\.[\w-]{16,}
|   shp(?:at|ca|pa|ss)_[A-Za-z0-9]{20,}
|   sq0[a-z]{3}-[\w-]{20,}
|   do[opr]_v1_[a-f0-9]{20,}
|   hv[sbr]\.[\w-]{20,}
|   [A-Za-z0-9]{14}\.atlasv1\.[\w-]{20,}
|   dapi[a-f0-9]{32}
|   lin_api_\w{20,}
|   ntn_\w{20,}
|   NRAK-[A-Z0-9]{20,}
|   sntry[su]_[\w=+/-]{20,}
|   PMAK-[\w-]{20,}
|   ATATT3[\w=-]{20,}
|   dckr_(?:pat|oat)_[\w-]{20,}
|   rubygems_[a-f0-9]{20,}
|   AGE-SECRET-KEY-1[A-Z0-9]{20,}
|   pul-[a-f0-9]{20,}
|   dp\.[a-z]{2,5}\.[\w.-]{20,}
|   figd_[\w-]{20,}
|   HRKU-[\w-]{20,}
|   sbp_[a-f0-9]{20,}
|   pscale_(?:tkn|oauth|pw)_[\w.-]{20,}
|   key-[a-f0-9]{32}
|   [a-f0-9]{32}-us[0-9]{1,2}\b
|   AKC[A-Za-z0-9]{20,}
|   EAA[A-Za-z0-9]{30,}
|   sl\.[\w-]{40,}
|   pat[A-Za-z0-9]{14}\.[a-f0-9]{40,}
|   [0-9]{6,10}:AA[\w-]{30,}
|   [MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{25,}
)
"""
