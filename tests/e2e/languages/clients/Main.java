// A client in Java: creates a group of two users with a hold, confirms it, and lets a third user
// ask to join. The address of the sidecar is the first argument; prints a line for each result.
import dev.imquota.v1.ConfirmHoldRequest;
import dev.imquota.v1.CreateGroupRequest;
import dev.imquota.v1.JoinGroupRequest;
import dev.imquota.v1.QuotaServiceGrpc;
import dev.imquota.v1.Result;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.concurrent.TimeUnit;

public final class Main {
    public static void main(String[] arguments) {
        ManagedChannel channel =
                ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
        QuotaServiceGrpc.QuotaServiceBlockingStub quota =
                QuotaServiceGrpc.newBlockingStub(channel)
                        .withWaitForReady()
                        .withDeadlineAfter(10, TimeUnit.SECONDS);
        CreateGroupRequest create =
                CreateGroupRequest.newBuilder()
                        .setAppId("java").setGroupId("g1").setType("Public").setOwnerId("ann")
                        .addMemberIds("bob").setMaxMembers(2)
                        .setHoldSeconds(60).setOperationId("create-1")
                        .build();
        print(quota.createGroup(create).getGroup());
        quota.confirmHold(
                ConfirmHoldRequest.newBuilder()
                        .setAppId("java").setOperationId("create-1").build());
        JoinGroupRequest join =
                JoinGroupRequest.newBuilder()
                        .setAppId("java").setGroupId("g1").addUserIds("bob").addUserIds("eve")
                        .build();
        quota.joinGroup(join).getResultsList().forEach(Main::print);
        channel.shutdownNow();
    }

    private static void print(Result result) {
        System.out.println(result.getOutcome() + " " + result.getDenialsCount());
    }
}
