import warnings

warnings.simplefilter("error")
warnings.warn("too much", RuntimeWarning)
