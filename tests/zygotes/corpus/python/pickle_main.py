import copy
import pickle


class Point:
    def __init__(self, x):
        self.x = x


data = pickle.dumps(Point(3))
print(data, pickle.loads(data).x, Point, Point.__module__, Point.__qualname__, copy.deepcopy(Point(4)).x)
