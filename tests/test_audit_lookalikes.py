import numpy as np
from audit_fabric import draw_picture
from PIL import Image, ImageOps

from stages.audit.lookalikes import MAX_NEIGHBOURS, find_covered, find_look_alikes
from stages.audit.pictures import THUMB_SIDE_PX
from stages.audit.resize import shrink_each


def shrink_all(images: list[Image.Image]) -> np.ndarray:
    return shrink_each([np.asarray(image.convert("L")) for image in images], THUMB_SIDE_PX, "box")


def test_cropped_copies_are_candidates_among_many() -> None:
    images = [draw_picture(k) for k in range(80)]
    images += [images[7].crop((13, 16, 166, 203)), ImageOps.mirror(images[9])]
    thumbs = shrink_all(images)
    upright = find_look_alikes(thumbs, mirrored=False).tolist()
    assert [7, 80] in upright
    assert [9, 81] not in upright
    assert [9, 81] in find_look_alikes(thumbs, mirrored=True).tolist()
    assert len(upright) < 60  # of 3,321 pairs


def test_candidates_of_few_pictures_are_all_pairs() -> None:
    assert len(find_look_alikes(np.zeros((10, 64, 64), np.uint8), False)) == 45
    assert find_look_alikes(np.zeros((0, 64, 64), np.uint8), False).shape == (0, 2)


def test_a_crowd_of_look_alikes_stays_bounded() -> None:
    rng = np.random.default_rng(0)
    thumbs = shrink_all([draw_picture(k) for k in range(60)])
    crowd = np.repeat(shrink_all([draw_picture(99)]), 300, axis=0) // 2
    crowd += rng.integers(0, 9, crowd.shape, dtype=np.uint8)
    found = find_look_alikes(np.concatenate([thumbs, crowd]), False)
    assert 300 < len(found) <= 360 * MAX_NEIGHBOURS


def test_pictures_with_a_banner_are_candidates_among_many() -> None:
    images = [draw_picture(k) for k in range(80)]
    for k, box in ((7, (0, 0, 178, 34)), (9, (0, 184, 178, 218))):
        banner = images[k].copy()
        banner.paste((255, 255, 255), box)
        images.append(banner if k == 7 else ImageOps.mirror(banner))
    thumbs = shrink_all(images)
    assert find_covered(thumbs, mirrored=False).tolist() == [[7, 80]]
    assert find_covered(thumbs, mirrored=True).tolist() == [[9, 81]]
