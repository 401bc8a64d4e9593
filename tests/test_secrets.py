"""No secret of a URL (user info, query string) is kept or printed."""

import json

import pytest

from selfie_io.console import hidden, without_secrets
from selfie_io.convert.storage.locations import _Remote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:SECRET@host:80/img@2x.zip?sig=SECRET/x#SECRET", "http://host:80/img@2x.zip"),
        ("s3://KEY:SE/CRET@bucket/x", "s3://bucket/x"),
        ("zip://a.png::http://u:p@h/x?sig::file://y?z", "zip://a.png::http://h/x::file://y"),
        ("http://host:8080/img@2x.zip", "http://host:8080/img@2x.zip"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("http://token@h/x", "http://h/x"),
        ("ftp://u:'q@h/x", "ftp://h/x"),
        ("http://[::1]:80/x?SECRET", "http://[::1]:80/x"),
        ("simplecache::http://h?x", "simplecache::http://h"),
        ("404: url=URL('http://h/p?a=SECRET'), sorry", "404: url=URL('http://h/p sorry"),
        ("what?is#this a@b", "what?is#this a@b"),
    ],
)
def test_user_info_and_query_are_cut(text, shown):
    assert without_secrets(text) == shown


def test_json_stays_json():
    text = json.dumps({"source": 'http://u:SECRET@h/x?SEC"RET', "next": [1]})
    assert json.loads(without_secrets(text)) == {"source": 'http://h/x"RET', "next": [1]}


@pytest.mark.parametrize(
    "error", [OSError(5, "Invalid bucket KEY:SECRET@b"), KeyError("SECRET"), ValueError("sig=SECRET")]
)
def test_a_file_system_that_quotes_a_part_of_the_url_tells_no_secret(error):
    class System:
        def size(self, _):
            raise error

    with pytest.raises(OSError) as found:
        _Remote(System(), "s3://KEY:SECRET@b/x?sig=SECRET").size("x")
    assert "SECRET" not in str(found.value)
    assert found.value.__cause__ is None
    assert hidden("Invalid bucket KEY:SECRET@b", "s3://KEY:SECRET@b/x") == "Invalid bucket ...b"
