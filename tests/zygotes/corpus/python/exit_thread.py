import sys
import threading

threading.Thread(target=sys.exit, args=(3,)).start()
