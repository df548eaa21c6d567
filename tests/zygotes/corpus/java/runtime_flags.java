import java.lang.management.*;

public class Main {
    public static void main(String[] args) {
        System.out.println(ManagementFactory.getRuntimeMXBean().getInputArguments());
        System.out.println(ManagementFactory.getRuntimeMXBean().getClassPath() + " " + Runtime.getRuntime().maxMemory());
        for (var collector : ManagementFactory.getGarbageCollectorMXBeans()) System.out.println(collector.getName());
        System.out.println(ManagementFactory.getRuntimeMXBean().getVmName() + " " + Runtime.version());
    }
}
