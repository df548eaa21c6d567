import java.net.*;

public class Main {
    public static void main(String[] args) throws Exception {
        try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Thread client = new Thread(() -> {
                try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort())) {
                    socket.getOutputStream().write("over a socket\n".getBytes());
                } catch (java.io.IOException problem) {
                    System.out.println(problem);
                }
            });
            client.start();
            System.out.print(new String(server.accept().getInputStream().readAllBytes()));
            client.join();
        }
    }
}
