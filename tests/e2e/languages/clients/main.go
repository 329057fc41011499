// A client in Go: creates a group of two users with a hold, confirms it, and lets a third user ask
// to join. The address of the sidecar is the first argument; prints a line for each result.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	imquotav1 "imquota.dev/imquota/v1"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(result *imquotav1.Result) {
	fmt.Println(result.Outcome, len(result.Denials))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	channel, err := grpc.DialContext(ctx, os.Args[1], grpc.WithInsecure(), grpc.WithBlock())
	check(err)
	defer channel.Close()
	quota := imquotav1.NewQuotaServiceClient(channel)

	owner, seconds, members := "ann", uint32(60), uint32(2)
	created, err := quota.CreateGroup(ctx, &imquotav1.CreateGroupRequest{
		AppId: "go", GroupId: "g1", Type: "Public", OwnerId: &owner, MemberIds: []string{"bob"},
		MaxMembers: &members, HoldSeconds: &seconds, OperationId: "create-1",
	})
	check(err)
	show(created.Group)
	_, err = quota.ConfirmHold(ctx, &imquotav1.ConfirmHoldRequest{
		AppId: "go", OperationId: "create-1",
	})
	check(err)
	joined, err := quota.JoinGroup(ctx, &imquotav1.JoinGroupRequest{
		AppId: "go", GroupId: "g1", UserIds: []string{"bob", "eve"},
	})
	check(err)
	for _, result := range joined.Results {
		show(result)
	}
}
