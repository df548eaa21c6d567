package util;

public class Helper {
    public static String greet(String name) { return "hello " + name + " from " + Helper.class.getPackage(); }
}
