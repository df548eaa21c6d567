import threading

print(type(threading.current_thread()), len(threading.enumerate()), threading.main_thread().name, threading.active_count())
results = []
threads = [threading.Thread(target=lambda n=n: results.append((n, threading.current_thread().name))) for n in range(3)]
for thread in threads:
    thread.start()
    thread.join()
print(results, threading.stack_size())
