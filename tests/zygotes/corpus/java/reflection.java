import java.lang.reflect.*;
import java.util.*;

public class Main {
    interface Greets { String greet(String name); }
    @Retention(java.lang.annotation.RetentionPolicy.RUNTIME) @interface Mark { int value() default 3; }
    @Mark static int field = 1;
    public static void main(String[] args) throws Exception {
        Greets proxy = (Greets) Proxy.newProxyInstance(Main.class.getClassLoader(), new Class<?>[] {Greets.class},
            (self, method, values) -> method.getName() + Arrays.toString(values));
        System.out.println(proxy.greet("x") + " " + proxy.getClass().getName() + " " + Main.class.getDeclaredField("field").getAnnotation(Mark.class));
        System.out.println(Main.class.getMethod("main", String[].class) + " " + ((Runnable) () -> {}).getClass().isHidden());
        Main.class.getDeclaredMethod("broken").invoke(null);
    }
    static void broken() { throw new IllegalStateException("by reflection"); }
}
