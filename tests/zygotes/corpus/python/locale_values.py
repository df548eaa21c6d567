import locale
import sys
import time

print(locale.getlocale(), locale.getpreferredencoding(), locale.localeconv()["decimal_point"], locale.setlocale(locale.LC_ALL))
print(sys.getdefaultencoding(), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.flags.utf8_mode)
print(time.tzname, time.timezone, time.strftime("%A", time.gmtime(0)))
print("ünïcödé ☃ 𝄞", "ß".upper())
