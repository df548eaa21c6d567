import multiprocessing
import os
import sys


def work(queue):
    queue.put((__name__, sys.argv, sys.path[0], sorted(os.environ), sys.flags.ignore_environment))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
    print(process.exitcode)
