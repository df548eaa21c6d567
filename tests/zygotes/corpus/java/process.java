import java.nio.file.*;

public class Main {
    public static void main(String[] args) throws Exception {
        ProcessHandle self = ProcessHandle.current();
        System.out.println(self.pid() + " " + self.info().command() + " " + self.parent().map(ProcessHandle::pid));
        System.out.println(Path.of("").toAbsolutePath() + " " + Files.readSymbolicLink(Path.of("/proc/self/exe")));
        System.out.println(Files.readString(Path.of("/proc/self/comm")).strip());
        try (var files = Files.list(Path.of("."))) { System.out.println(files.sorted().toList()); }
        try (var files = Files.list(Path.of("/tmp"))) { System.out.println(files.sorted().toList()); }
        try (var files = Files.list(Path.of("/tmp/classes"))) { System.out.println(files.sorted().toList()); }
    }
}
