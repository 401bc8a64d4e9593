"""The restricted pickle reader: plain data of every protocol, and nothing that runs, lies or swells."""

import contextlib
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_io.labels.safe_pickle import load, load_torch

PLAIN = {
    "matrix": np.arange(6).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(12.0, dtype=">f4").reshape(3, 4)),
    "empty": np.zeros((0, 3), np.uint8),
    "text": np.array(["ab", "c"]),
    "flags": np.array([True, False]),
    "point": np.array(3),
    "scalar": np.float32(2.5),
    "list": [1, 2.5, None, True, b"q\xff", "é", 10**30, -70000, (1, (2,), (1, 2, 3, 4)), {}],
}


def assert_same(got, expected):
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(got, expected)
    else:
        assert got == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(protocol):
    assert_same(load(pickle.dumps(PLAIN, protocol)), PLAIN)


@pytest.mark.parametrize("as_zip", [True, False])
def test_torch_files(tmp_path, as_zip):
    torch.save(PLAIN, tmp_path / "labels.pt", _use_new_zipfile_serialization=as_zip)
    assert_same(load_torch(tmp_path / "labels.pt"), PLAIN)


def test_python2_pickle_of_an_array():
    # There `str` is bytes: the text is read as Latin-1 and becomes the bytes of the array again.
    python2 = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x03\x01\xc8\xfftbs."
    )
    assert_same(load(python2), {"data": np.array([1, 200, 255], np.uint8)})


def test_shared_and_cyclic_lists_stay_so():
    inner = [1]
    cyclic = [inner, inner]
    cyclic.append(cyclic)
    got = load(pickle.dumps(cyclic))
    assert got[0] is got[1]
    assert got[2] is got


class RunsShell:
    def __reduce__(self):
        return os.system, ("echo this must never run > /dev/null",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_by_name(protocol):
    with pytest.raises(ValueError, match=r"posix\.system"):
        load(pickle.dumps({"labels": RunsShell()}, protocol))


def test_what_is_not_plain_data_is_refused_by_name(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt.*torch\._utils\._rebuild_tensor_v2"):
        load_torch(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="'O8'"):
        load(pickle.dumps(np.array([None, 1], object)))
    with pytest.raises(ValueError, match="'V5'"):
        load(pickle.dumps(np.zeros(2, [("a", "u1"), ("b", "f4")])))
    with pytest.raises(ValueError, match=r"builtins\.set|EMPTY_SET"):
        load(pickle.dumps({1, 2}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"cnumpy\nndarray\n.",  # a bare name is no data
        b"cnumpy\ndtype\n(U\x02i8I00\nI01\ntR.",  # nor is a dtype
        b"(.",
        b"]K\x01b.",  # BUILD of a list
        b"h\x00.",  # a memo that was never put
        b"]]s.",
        b"}](K\x01u.",
        b"\x80\x02]q\x00" + b"h\x00" * 3,  # no STOP
        b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc",
        pickle.dumps(np.str_("ab"), 2).replace(b"a\x00\x00\x00", b"aaaa"),  # beyond the last character
    ],
)
def test_damage_is_a_value_error(content):
    with pytest.raises(ValueError, match=r".+"):
        load(content)


def is_plain(value):
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufUS"
    return isinstance(value, int | float | str | bytes | bytearray | None)


@settings(deadline=None)
@given(st.data())
def test_flipped_bytes_give_plain_data_or_a_value_error(data):
    content = bytearray(pickle.dumps(PLAIN, data.draw(st.integers(0, 5))))
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert is_plain(load(bytes(content)))


def test_a_byte_order_that_is_a_shape_is_refused():
    honest = pickle.dumps(np.zeros(6, np.uint8), 3)
    hostile = honest.replace(b"X\x01\x00\x00\x00|", b"X\x01\x00\x00\x003")  # numpy reads "3u1" as three bytes
    assert hostile != honest
    with pytest.raises(ValueError, match="numbers or text"):
        load(hostile)


@pytest.mark.parametrize("as_zip", [True, False])
def test_flipped_bytes_of_torch_files(tmp_path, as_zip):
    path = tmp_path / "labels.pt"
    torch.save({"clean_label": np.arange(50)}, path, _use_new_zipfile_serialization=as_zip)
    whole, rng, refusals = path.read_bytes(), np.random.default_rng(0), []
    for _ in range(400):
        content = bytearray(whole)
        for position in rng.integers(0, len(content), 4):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(1, 2 * len(content))])
        try:
            assert is_plain(load_torch(path))
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(str(path) in refusal for refusal in refusals)


def test_an_array_larger_than_the_file_is_refused():
    honest = pickle.dumps(np.zeros(100, np.int64), 3)
    lying = honest.replace(b"Kd\x85", b"J" + struct.pack("<i", 1 << 30) + b"\x85")
    assert lying != honest
    with pytest.raises(ValueError, match=r"8589934592 bytes, got 800"):
        load(lying)
    # One text that is encoded again and again: each array is small, together they outgrow the file.
    encode = (
        b"c_codecs\nencode\n(X" + struct.pack("<I", 4000) + b"a" * 4000 + b"q\x00X\x06\x00\x00\x00latin1tR"
    )
    again = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    assert load(encode + b".") == b"a" * 4000
    with pytest.raises(ValueError, match="larger than the file"):
        load(b"(" + encode + again + b"t.")


def nested(levels):
    """Tuples that hold one another twice: few bytes, and 2^levels of them to whoever visits each."""
    return b")q\x00" + b"h\x00h\x00\x86q\x00" * levels


SWELLING = {
    "a key is text": nested(60) + b"}h\x00K\x01s.",
    "a name is text": nested(60) + nested(60) + b"\x93.",
    "a shape is a tuple of integers": (
        b"cnumpy.core.numeric\n_frombuffer\n(C\x00cnumpy\ndtype\nU\x02u1\x85R"
        b"K\x01K\x02\x86J\xff\xff\xff\x7f\x86U\x01CtR."
    ),
    "protocol 1001": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + nested(60) + b".",
    "at most 1000 steps": b"(" + b"N" * 1000 + b"t.",
    "at most 500 lists, dicts and tuples": b"(" + b"]})" * 200 + b")\x85" * 101 + b"t.",
}


@pytest.mark.parametrize("reason", SWELLING)
def test_small_pickles_do_not_take_for_ever_or_all_memory(tmp_path, reason, monkeypatch):
    monkeypatch.setattr("selfie_io.labels.safe_pickle._MAX_STEPS", 1000)
    monkeypatch.setattr("selfie_io.labels.safe_pickle._MAX_CONTAINERS", 500)
    (tmp_path / "x.pt").write_bytes(SWELLING[reason])
    with pytest.raises(ValueError, match=reason):
        load_torch(tmp_path / "x.pt")


def test_zips_that_torch_never_wrote(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x00" * 1_000_000)
    with pytest.raises(ValueError, match=r"bomb\.pt: data\.pkl is compressed"):
        load_torch(tmp_path / "bomb.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme", b"")
    with pytest.raises(ValueError, match=r"one data\.pkl, this one holds 0"):
        load_torch(tmp_path / "other.pt")
