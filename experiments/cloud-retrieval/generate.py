"""
Write made-up collocated granules of VIIRS and CALIOP in the layout of the real products.

    python generate.py --out granules --granules 60 --seed 1
"""

import argparse
from pathlib import Path

from granule import MOST, Size, write_granule


def main() -> None:
    """Read the command line and write the granules."""
    parser = argparse.ArgumentParser(description=str(__doc__).strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; made where it is not")
    parser.add_argument("--granules", type=int, default=60, help=f"at most {MOST}")
    parser.add_argument("--scans", type=int, default=48, help="of 16 lines, in each granule")
    parser.add_argument("--pixels", type=int, default=160, help="of the 3200 of a line")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(args.granules):
        files = write_granule(args.out, args.seed, number, Size(args.scans, args.pixels))
        print(files.imagery.name, flush=True)


if __name__ == "__main__":
    main()
