import contextvars
import decimal

print(len(contextvars.copy_context()), decimal.getcontext())
