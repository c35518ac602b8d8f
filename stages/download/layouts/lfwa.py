"""LFWA+: CelebA's 40 attributes on the pictures of Labeled Faces in the Wild (LFW)."""

import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import FacetError
from stages.download.layouts.collection import Collection, Member
from stages.download.layouts.text import check_attributes, check_path
from stages.download.source import PICTURE_SUFFIXES, Labels, sort_labels

LABELS = "lfw_att_40.mat"
INDICES = "indices_train_test.mat"

#: LFW numbers the files of a person: Aaron_Eckhart_0001.jpg.
_NUMBERED = re.compile(r"(.+)_\d{4}$")


def read_lfwa(member: Member, indices: Member | None) -> Labels:
    """Read lfw_att_40.mat and the indices of train and test (in a file beside it, or in it).

    Variables are told by what they hold. Image ids are PERSON/FILE as in LFW's folders, the person
    is the identity. LFWA+ has train and test only; without indices there are no partitions.

    Raises:
        FacetError: no MATLAB file, a variable is missing or does not fit the others.
    """
    variables = read_mat(member)
    names = _find_names(variables)
    attributes, values = _find_labels(variables, names)
    if values is None:
        held = [name for name in sorted(variables) if not name.startswith("_")]
        raise FacetError(
            f"{member}: expected the variables name, label (images x attributes) and AttrName that "
            f"fit together; got {', '.join(held)[:100]}"
        )
    attributes = check_attributes(attributes, str(member))
    unknown = np.isnan(values)
    wrong = ~unknown & ~np.isin(values, (0, 1, -1))
    if wrong.any() or ((values == 0).any() and (values == -1).any()):
        raise FacetError(
            f"{member}: label: expected 0 and 1; got {np.unique(values[~unknown])[:5].tolist()}"
        )
    image_ids = [check_path(name, f"{member}: name {k + 1}") for k, name in enumerate(names)]
    if len(set(image_ids)) != len(image_ids):
        raise FacetError(f"{member}: name: expected every image once; got one again")
    if indices is not None:
        variables = read_mat(indices)
    return sort_labels(
        image_ids,
        attributes,
        np.where(unknown, -1, values == 1).astype(np.int8),
        _read_partitions(variables, len(names), indices or member, indices is not None),
        [_find_person(name) for name in image_ids],
    )


def find_lfwa(collection: Collection) -> tuple[Member, Member | None] | None:
    """lfw_att_40.mat and the file of indices, where they are there."""
    labels = collection.find(LABELS)
    return None if labels is None else (labels, collection.find(INDICES))


def read_mat(member: Member) -> dict[str, Any]:
    """Variables of a MATLAB file, version 7.3 (HDF5, as published) or older.

    Raises:
        FacetError: neither.
    """
    data = member.read()
    try:
        if data[:4] != b"\x89HDF" and data[512:516] != b"\x89HDF":
            from scipy.io import loadmat

            return dict(loadmat(io.BytesIO(data), squeeze_me=True))
        import mat73

        return dict(mat73.loadmat(io.BytesIO(data)))
    except Exception as error:  # both libraries raise whatever a broken file makes them meet
        raise FacetError(
            f"{member}: expected a MATLAB file; {' '.join(str(error).split())[:120]}"
        ) from None


def _texts(value: Any) -> list[str]:
    """A cell array of texts, or rows of characters, as a list; empty for anything else."""
    cells = np.ravel(np.asarray(value, object))
    return [text.strip() for text in cells] if all(isinstance(c, str) for c in cells) else []


def _find_names(variables: dict[str, Any]) -> list[str]:
    """The texts that are names of pictures (`name` in the published file)."""
    for value in variables.values():
        texts = _texts(value)
        if texts and all(text.lower().endswith(PICTURE_SUFFIXES) for text in texts):
            return texts
    return []


def _find_labels(
    variables: dict[str, Any], names: list[str]
) -> tuple[list[str], NDArray[np.float64] | None]:
    """Texts and the matrix of images x texts (`AttrName` and `label` in the published file)."""
    n = len(names)
    for key, value in variables.items():
        texts = _texts(value)
        if not texts or texts == names or key.startswith("_"):
            continue
        for other in variables.values():
            matrix = np.asarray(other)
            if not n or matrix.dtype.kind not in "biuf" or matrix.size != n * len(texts):
                continue
            if matrix.shape == (len(texts), n) != (n, len(texts)):
                matrix = matrix.T
            if matrix.shape in ((n, len(texts)), (n,)):
                attributes = [text.replace(" ", "_") for text in texts]
                return attributes, matrix.reshape(n, -1).astype(np.float64)
    return [], None


def _find_person(name: str) -> str | None:
    """The folder, which LFW names after the person, else what the file's name says."""
    folder = name.rpartition("/")[0].rpartition("/")[2]
    if folder:
        return folder
    numbered = _NUMBERED.match(name.rpartition(".")[0])
    return numbered[1] if numbered else None


def _find_indices(
    variables: dict[str, Any], partition: str, n_images: int
) -> NDArray[np.int64] | None:
    """Numbers of the images of train or test (`indices_img_train` in the published file)."""
    for key, value in variables.items():
        numbers = np.ravel(np.asarray(value))
        if partition not in key.lower() or "identit" in key.lower():
            continue
        if numbers.dtype.kind not in "biuf" or not (numbers == np.floor(numbers)).all():
            continue
        if len(numbers) == n_images and (numbers == 0).any():  # which are in, not their numbers
            return np.flatnonzero(numbers) + 1
        return numbers.astype(np.int64)
    return None


def _read_partitions(
    variables: dict[str, Any], n_images: int, where: Member, is_needed: bool
) -> list[str] | None:
    """Train and test by the numbers of images, which count from 1."""
    indices = {name: _find_indices(variables, name, n_images) for name in ("train", "test")}
    if any(numbers is None for numbers in indices.values()):
        if any(word in key.lower() for key in variables for word in indices) or is_needed:
            raise FacetError(
                f"{where}: expected numbers of the images of train and of test "
                "(indices_img_train, indices_img_test); got others"
            )
        return None
    partitions = [""] * n_images
    for name, numbers in indices.items():
        assert numbers is not None
        for index in numbers.tolist():
            if not 1 <= index <= n_images or partitions[index - 1]:
                raise FacetError(
                    f"{where}: indices of {name}: expected every number from 1 to {n_images} once; "
                    f"got {index}"
                )
            partitions[index - 1] = name
    if "" in partitions:
        raise FacetError(
            f"{where}: expected a partition for every image; "
            f"{partitions.count('')} have none, such as number {partitions.index('') + 1}"
        )
    return partitions
