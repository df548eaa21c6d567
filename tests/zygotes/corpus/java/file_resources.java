import java.nio.file.*;

public class Main {
    public static void main(String[] args) throws Exception {
        Files.writeString(Path.of("out.txt"), "written\n");
        System.out.print(Files.readString(Path.of("out.txt")));
        System.out.println(Files.getPosixFilePermissions(Path.of("out.txt")) + " " + Files.size(Path.of("Main.java")));
        System.out.println(Path.of("/tmp/classes/Main.class").toFile().isFile());
    }
}
