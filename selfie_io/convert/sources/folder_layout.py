"""Finds the class folders of an image folder: which folders are splits, which are classes, what is
beside."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_files import ends_like_image, is_image
from selfie_io.convert.sources.split_words import (
    TEST,
    TRAIN,
    VALIDATION,
    choose_splits,
    counted,
    some,
    split_of_folder,
    splits_in,
)

_WRAPPERS = ("images", "image", "data", "imgs")  # a folder that some archives put around all others


@dataclass
class FolderLayout:
    """The folders of classes of each split that is used, and what is to be said about the rest.

    `pooled`: no folder names a split, all are under "train". `doubts` are readings that are
    probably not meant: a refusal, unless the user chose the kind.
    """

    prefix: str
    folders: dict[str, str]
    pooled: bool = False
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def find_layout(tree: Tree) -> FolderLayout | None:
    """The layout of a tree of class folders; None if there is no folder of classes.

    Raises ValueError for a layout that cannot be read in one way, naming the folders.
    """
    prefix = ""
    left_out: list[str] = []
    while True:
        tops = tree.folders(prefix)
        splits = _split_folders(tree, prefix, tops)
        if splits:
            layout = _with_splits(tree, prefix, tops, splits)
            break
        with_images = [top for top in tops if any(map(ends_like_image, tree.under(top)))]
        inner = with_images if len(with_images) == 1 and tree.folders(with_images[0]) else tops
        if len(inner) != 1 or not tree.folders(inner[0]):
            pool = _pool(tree, prefix, tops)
            if pool is None:
                return None
            layout = pool
            break
        left_out += [top for top in tops if top != inner[0]]
        prefix = inner[0]
    if left_out:
        layout.notes.append(f"folders without images are left out ({some(left_out)})")
    _note_loose_files(tree, layout)
    return layout


def class_folders(tree: Tree, folder: str) -> list[str]:
    """The names of the classes whose folders stand in a folder."""
    return [name[len(folder) : -1] for name in tree.folders(folder)]


def _split_folders(tree: Tree, prefix: str, tops: Sequence[str]) -> dict[str, list[str]]:
    """The folders in `prefix` that name a split and hold class folders, by split."""
    names = [top[len(prefix) : -1] for top in tops]
    found: dict[str, list[str]] = {}
    for top, name in zip(tops, names, strict=True):
        split = split_of_folder(name, names)
        if split is not None and _has_classes(tree, top):
            found.setdefault(split, []).append(top)
    if list(found) and TRAIN not in found and len(tops) == 1:
        return {}  # one folder around everything, whatever its name
    return found


def _with_splits(tree: Tree, prefix: str, tops: Sequence[str], splits: dict[str, list[str]]) -> FolderLayout:
    for split, folders in splits.items():
        if len(folders) > 1 and (split != VALIDATION or TEST not in splits):
            raise ValueError(
                f"{tree.path}: one folder must hold the {split} split, got {some(folders)}; rename the others"
            )
    named = {split: folders[0] for split, folders in splits.items()}
    used, notes = choose_splits({split: _unwrapped(tree, folder) for split, folder in named.items()}, named)
    layout = FolderLayout(prefix, used, notes=notes)
    layout.notes += [f"{extra} is left out, too" for extra in splits.get(VALIDATION, [])[1:]]
    in_splits = {folder for folders in splits.values() for folder in folders}
    beside = [top for top in tops if top not in in_splits]
    names = [top[len(prefix) : -1] for top in tops]
    for top in beside:
        if not _has_classes(tree, top) and split_of_folder(top[len(prefix) : -1], names):
            count = sum(map(ends_like_image, tree.under(top)))
            layout.notes.append(
                f"{top} is left out: it has no class folders, so no labels for its {counted(count, 'image')}"
            )
        elif any(map(ends_like_image, tree.under(top))):
            layout.notes.append(f"{top} is left out: its name is no split")
            if len(splits) == 1:
                layout.doubts.append(
                    f"{named[TRAIN]} can be the training split, or a class beside {top}: rename it, or move"
                    f" {top} away (--kind image-folder takes it as the split)"
                )
        else:
            layout.notes.append(f"{top} is left out: it holds no images")
    layout.notes += [f"{top} is empty" for top in tree.empty_folders(prefix) if splits_in(top[len(prefix) :])]
    for folder in used.values():
        _refuse_splits_inside(tree, folder)
    if TEST in used:
        _doubt_linked(tree, layout)
    return layout


def _has_classes(tree: Tree, folder: str) -> bool:
    """Whether a split's folder holds class folders, and not one folder more around all images."""
    inner = tree.folders(folder)
    if len(inner) != 1 or tree.folders(inner[0]):
        return bool(inner)
    name = inner[0][len(folder) : -1]
    own = splits_in(folder.rstrip("/").rsplit("/", 1)[-1])
    return not (name.lower() in _WRAPPERS or (splits_in(name) and splits_in(name) == own))


def _unwrapped(tree: Tree, folder: str) -> str:
    """The folder of classes inside a split's folder, which some archives wrap once more.

    seg_train/seg_train/CLASS and train/images/CLASS are read as train/CLASS.
    """
    inner = tree.folders(folder)
    if len(inner) != 1 or not tree.folders(inner[0]) or _direct_images(tree, inner[0]):
        return folder
    name = inner[0][len(folder) : -1]
    own = splits_in(folder.rstrip("/").rsplit("/", 1)[-1])
    if splits_in(name) - own:
        raise ValueError(f"{tree.place(inner[0])}: a path must name one split; rename the folder")
    return inner[0] if splits_in(name) or name.lower() in _WRAPPERS else folder


def _pool(tree: Tree, prefix: str, tops: Sequence[str]) -> FolderLayout | None:
    """One tree of class folders without splits."""
    if not any(ends_like_image(name) for top in tops for name in tree.under(top)):
        return None
    names = [top[len(prefix) : -1] for top in tops]
    like_splits = [top for top, name in zip(tops, names, strict=True) if split_of_folder(name, names)]
    if len(like_splits) > 1 or (like_splits and len(tops) == 1):
        raise ValueError(
            f"{tree.path}: a split must hold class folders, {some(like_splits)} hold images alone; "
            "put them into"
            " class folders, or add a table of file and label"
        )
    layout = FolderLayout(prefix, {TRAIN: prefix}, pooled=True)
    layout.notes += [
        f"{top} is taken for a class, as the folders beside it are: it holds images and no class folders"
        for top in like_splits
    ]
    _refuse_splits_inside(tree, prefix)
    return layout


def _refuse_splits_inside(tree: Tree, folder: str) -> None:
    """Raise ValueError if splits stand where classes or their images do: they would be mixed up."""
    tops = tree.folders(folder)
    names = [top[len(folder) : -1] for top in tops]
    if tops and all(split_of_folder(name, names) for name in names):
        raise ValueError(
            f"{tree.place(tops[0])}: a path must name one split; put {some(tops)} side by side at the top"
        )
    for top in tops:
        for inner in tree.folders(top):
            if split_of_folder(inner[len(top) : -1]):
                raise ValueError(
                    f"{tree.place(inner)}: a split must stand above its class folders, got one inside"
                    f" {top}; put train/{top[len(folder) :]} and test/{top[len(folder) :]} there"
                )


def _note_loose_files(tree: Tree, layout: FolderLayout) -> None:
    """Say which files stand beside the folders, and doubt the layout if most images do."""
    inside = sum(ends_like_image(name) for folder in layout.folders.values() for name in tree.under(folder))
    loose = [name for folder in {layout.prefix, *layout.folders.values()} for name in _direct(tree, folder)]
    images = sorted(name for name in loose if is_image(tree, name))
    others = sorted(set(loose) - set(images))
    if images:
        layout.notes.append(
            f"{counted(len(images), 'image')} beside the class folders left out ({some(images)})"
        )
        if len(images) > inside - len(images):
            layout.doubts.append(
                f"{len(images):,} images stand beside the class folders, more than in them "
                f"({some(images)});"
                " move them into class folders (--kind image-folder leaves them out)"
            )
    if others:
        layout.notes.append(
            f"{counted(len(others), 'other file')} beside the class folders left out ({some(others)})"
        )
    for folder in layout.folders.values():
        for empty in tree.empty_folders(folder):
            if not splits_in(empty[len(folder) :]) or folder != layout.prefix:
                layout.notes.append(
                    f"{empty} is empty and is no class: later classes get a label less by one"
                )


def _doubt_linked(tree: Tree, layout: FolderLayout) -> None:
    """Doubt a test split that holds, by links, a folder of the training split."""
    places: dict[str, list[str]] = {}
    for again, first in tree.same_folder.items():
        places.setdefault(first, [first]).append(again)
    for names in places.values():
        found = {
            split: name
            for split, folder in layout.folders.items()
            for name in names
            if name.startswith(folder)
        }
        if len(found) > 1:
            first, again = sorted(found.values())[:2]
            layout.doubts.append(
                f"{again} is the same folder as {first} (a link): the same images would train and test"
                " (--kind image-folder packs them nevertheless)"
            )
            return


def _direct(tree: Tree, folder: str) -> list[str]:
    """The files that stand in a folder itself."""
    return [name for name in tree.under(folder) if "/" not in name[len(folder) :]]


def _direct_images(tree: Tree, folder: str) -> bool:
    return any(map(ends_like_image, _direct(tree, folder)))
