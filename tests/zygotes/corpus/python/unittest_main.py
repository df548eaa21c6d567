import unittest


class Case(unittest.TestCase):
    def test_good(self):
        self.assertEqual(1, 1)

    def test_bad(self):
        self.assertEqual(1, 2)


result = unittest.main(exit=False, testRunner=unittest.TextTestRunner(stream=open("log", "w"))).result
print(result, [text for _, text in result.failures])
