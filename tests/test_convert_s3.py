"""Sources and targets in S3, on a moto server of this machine (where moto and s3fs are installed)."""

import numpy as np
import pytest
from converting import as_zip, encoded, run

server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pack_from_s3_to_s3(tmp_path, monkeypatch):
    moto = server.ThreadedMotoServer(port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("SELFIE_CACHE", str(tmp_path / "cache"))
    try:
        rng = np.random.default_rng(0)
        members = {
            f"{split}/{name}/{number}.png": encoded(rng.integers(0, 256, (5, 4, 3), "u1"))
            for split in ("train", "test")
            for name in ("cat", "dog")
            for number in range(3)
        }
        source = as_zip(tmp_path / "pictures.zip", members)
        assert run("pack", source, tmp_path / "set") == 0
        system = s3fs.S3FileSystem()
        system.mkdir("bucket")
        system.put_file(str(source), "bucket/pictures.zip")
        assert run("pack", "s3://bucket/pictures.zip", "s3://bucket/set") == 0
        found = {
            name.rsplit("/", 1)[-1]: system.cat_file(name) for name in system.ls("bucket/set", detail=False)
        }
        assert found == {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
        assert run("pack", "s3://bucket/pictures.zip", "s3://bucket/set") == 2
        assert run("pack", "s3://bucket/pictures.zip", "s3://bucket/set", "--force") == 0
    finally:
        moto.stop()
