import sys
import traceback


def fail():
    raise RuntimeError("näh")


try:
    fail()
except RuntimeError as problem:
    print(traceback.format_exc())
    frame = problem.__traceback__.tb_frame
    while frame:
        print(frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
print(traceback.format_stack())
traceback.print_stack(file=sys.stdout)
