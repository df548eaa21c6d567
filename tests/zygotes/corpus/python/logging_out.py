import logging

logging.warning("to stderr")
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(module)s %(lineno)d %(processName)s %(threadName)s %(message)s")
logging.info("now")
logging.getLogger("mine").exception("without one")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("with one")
