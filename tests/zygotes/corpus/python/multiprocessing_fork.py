import multiprocessing


def work(number):
    return number * number, __name__, multiprocessing.current_process().name.rpartition("-")[0]


if __name__ == "__main__":
    print(multiprocessing.get_start_method())
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(work, range(5)))
