"""What imagededup and cleanvision find in a folder of pictures, as JSON.

Run by the interpreter of an environment that has them; nothing of this project is imported.

    path/to/python benchmarks/audit/peers.py FOLDER RESULT.json
"""

import json
import sys
import time
from itertools import combinations
from pathlib import Path


def ask_imagededup(folder: str) -> dict:
    """Pairs of PHash at its default radius, and the hashes for other radii."""
    from imagededup.methods import PHash

    method = PHash(verbose=False)
    started = time.time()
    hashes = method.encode_images(folder, num_enc_workers=0)
    found = method.find_duplicates(encoding_map=hashes, num_dist_workers=0)
    pairs = {tuple(sorted((name, other))) for name, others in found.items() for other in others}
    return {
        "hashes": hashes,
        "pairs": sorted(pairs),
        "seconds": time.time() - started,
    }


def ask_cleanvision(folder: str) -> dict:
    """Pairs within its sets of exact and of near duplicates."""
    from cleanvision import Imagelab

    started = time.time()
    lab = Imagelab(data_path=folder, verbose=False)
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
    result: dict = {"seconds": time.time() - started}
    for kind in ("exact", "near"):
        sets = lab.info[f"{kind}_duplicates"]["sets"]
        result[kind] = [
            pair
            for members in sets
            for pair in combinations(sorted(Path(member).name for member in members), 2)
        ]
    return result


if __name__ == "__main__":
    answers = {
        "imagededup": ask_imagededup(sys.argv[1]),
        "cleanvision": ask_cleanvision(sys.argv[1]),
    }
    Path(sys.argv[2]).write_text(json.dumps(answers), encoding="utf-8")
