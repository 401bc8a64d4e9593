"""What only the resident backend can do wrong, such as a split that does not fit. See test_backends.py."""

import os
import sys

import backend_checks
import pytest
import torch

import selfie_io as sio
from selfie_io.loading import resident, torch_pixels


def test_the_split_is_uploaded_in_parts(tmp_path, monkeypatch):
    split = backend_checks.open_train(tmp_path / "set")
    monkeypatch.setattr(resident, "STAGING_BYTES", 10 * 3072 + 1)
    backend_checks.expect_as_native(split, "resident", batch_size=16)


def test_a_split_that_does_not_fit_is_refused_with_its_bytes(tmp_path, monkeypatch):
    split = backend_checks.open_train(tmp_path / "set")
    monkeypatch.setattr(resident, "_free_bytes", lambda _: 73 * 3072 - 1)
    with pytest.raises(MemoryError, match="cpu: it needs 224256 bytes, 224255 are free; use backend"):
        sio.Loader(split, backend="resident")
    monkeypatch.setattr(resident, "_free_bytes", lambda _: 73 * 3072)
    sio.Loader(split, backend="resident")


def test_free_memory_is_told():
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert everything // 1000 < resident._free_bytes(torch.device("cpu")) <= everything
    assert resident._free_bytes(torch.device("meta")) is None


def test_without_a_fused_instruction(tmp_path, monkeypatch):
    """float64 gives the same bits where torch.addcmul rounds twice."""
    monkeypatch.setattr(torch_pixels, "_addcmul_is_fused", lambda _: False)
    backend_checks.check_every_option(tmp_path, "resident", "float32")


def test_two_roundings_are_noticed(monkeypatch):
    """Also if only the last value of a row has them, as in a loop of vectors with a plain rest."""

    def twice(shift, pixels, scale):
        return shift + pixels * scale

    def once(shift, pixels, scale):
        return (shift.double() + pixels.double() * scale).float()

    def once_but_for_the_last(shift, pixels, scale):
        return torch.cat([once(shift, pixels, scale)[:, :-1], twice(shift, pixels[:, -1:], scale)], 1)

    for addcmul, fused in ((twice, False), (once, True), (once_but_for_the_last, False)):
        monkeypatch.setattr(torch, "addcmul", addcmul)
        assert torch_pixels._addcmul_is_fused.__wrapped__(torch.device("cpu")) == fused


def test_only_the_chosen_backend_is_imported(tmp_path):
    backend_checks.open_train(tmp_path / "set")
    program = """
        import sys
        import selfie_io as sio

        sio.Loader(sio.open_dataset(sys.argv[1], shape=(3, 32, 32)).train, backend=sys.argv[2])
        print(*sorted(name for name in sys.modules if name.startswith("selfie_io.loading.")))
    """
    torch_files = ("torch_pixels", "torch_colour", "torch_resize")
    shared = {"augment", "batch", "checks", "loader", "memory", "options", "order", "reader"}
    shared |= {"reading", "selection"}
    for backend, more in (("native", {"native"}), ("resident", {"resident", *torch_files})):
        output = backend_checks.run_program(program, tmp_path / "set", backend)
        assert set(output.split()) == {f"selfie_io.loading.{name}" for name in shared | more}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("backend", ["native", "resident"])
def test_a_missing_gpu_is_named_with_the_way_out(tmp_path, backend):
    split = backend_checks.open_train(tmp_path / "set")
    with pytest.raises(ValueError, match=r"got 'cuda:0' without .* backend=\"native\" with device=\"cpu\""):
        sio.Loader(split, backend=backend, device="cuda:0")


def test_missing_dali_is_named_with_its_wheels(tmp_path, monkeypatch):
    split = backend_checks.open_train(tmp_path / "set")
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    monkeypatch.delitem(sys.modules, "selfie_io.loading.dali", raising=False)
    with pytest.raises(ImportError, match=r'nvidia-dali-cuda130, or nvidia-dali-cuda120.* backend="native"'):
        sio.Loader(split, backend="dali")
