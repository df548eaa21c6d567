import ctypes
import faulthandler

faulthandler.enable()
print("then", flush=True)
ctypes.string_at(0)
