#: args = ["--help"]
import argparse

parser = argparse.ArgumentParser(description="Adds.")
parser.add_argument("numbers", nargs="*", type=int)
parser.add_argument("--twice", action="store_true")
print(parser.parse_args())
