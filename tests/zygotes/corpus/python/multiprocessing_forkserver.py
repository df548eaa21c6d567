import multiprocessing


def work(value):
    return value + 1


if __name__ == "__main__":
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        print(pool.map(work, [1, 2, 3]))
