"""The MD5 sums that publishers give for their files, so that damage and other editions are noticed."""

import hashlib

from selfie_io.convert.sources.file_tree import Tree

# By the last two parts of a path, or the last one where the name says enough.
MD5 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
    "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    "tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de",
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    "fashion-mnist/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "fashion-mnist/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "fashion-mnist/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_READ_BYTES = 1 << 20


def compare_with_published(tree: Tree) -> tuple[list[str], bool]:
    """What to say about the files whose published MD5 is known, or the archive itself.

    Also returns whether every file of `tree` is as published.
    """
    same, other = [], []
    if tree.path.is_dir():
        known = {
            name: md5 for name in tree.names if (md5 := _published(f"{tree.path.resolve().name}/{name}"))
        }
    else:
        known = {"": md5} if (md5 := _published(tree.path.name)) else {}
    for name, md5 in known.items():
        digest = hashlib.md5(usedforsecurity=False)
        with tree.path.open("rb") if name == "" else tree.open(name) as file:
            while content := file.read(_READ_BYTES):
                digest.update(content)
        place = name or tree.path.name
        if digest.hexdigest() == md5:
            same.append(place)
        else:
            other.append(
                f"{place}: MD5 {digest.hexdigest()}, published is {md5}: another edition, or damaged"
            )
    notes = other + ([f"as published (MD5): {', '.join(same)}"] if same else [])
    return notes, bool(same) and not other and (not tree.path.is_dir() or set(same) >= set(tree.names))


def _published(path: str) -> str | None:
    parts = path.split("/")
    return MD5.get("/".join(parts[-2:])) or MD5.get(parts[-1])
