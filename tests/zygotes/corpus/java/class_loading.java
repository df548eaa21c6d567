import java.util.*;

public class Main {
    static { System.out.println("static initializer of " + Main.class.getName()); }
    static class Inner {
        static { System.out.println("inner is loaded late"); }
        static int value = 4;
    }
    public static void main(String[] args) throws Exception {
        ClassLoader loader = Main.class.getClassLoader();
        System.out.println(loader.getClass() + " " + loader.getParent().getClass() + " " + loader.getName());
        System.out.println(Main.class.getProtectionDomain().getCodeSource() + " " + loader.getResource("Main.class"));
        System.out.println(Main.class.getModule() + " " + loader.getResource("absent") + " " + Main.class.getPackageName().isEmpty());
        System.out.println(Inner.value);
        System.out.println(new TreeSet<>(ModuleLayer.boot().modules().stream().map(Module::getName).toList()));
        Class.forName("Absent");
    }
}
