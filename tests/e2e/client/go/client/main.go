// Fills a group of 20 with 30 users at a time, and lets one commit fail; prints the figures.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "imquota.dev/imquota/v1"
	"quota"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func usage(service pb.QuotaServiceClient, app string) *pb.Usage {
	var found *pb.Usage
	check(quota.Repeat(20, func(ctx context.Context, options ...grpc.CallOption) error {
		subject := &pb.Subject{Kind: &pb.Subject_GroupId{GroupId: "g"}}
		answer, err := service.GetUsage(ctx, &pb.GetUsageRequest{AppId: app, Subject: subject}, options...)
		for _, each := range answer.GetUsages() {
			if each.LimitId == "members_per_group" {
				found = each
			}
		}
		return err
	}))
	return found
}

func main() {
	address, app := os.Args[1], os.Args[2]
	channel, err := quota.Dial(address)
	check(err)
	service := pb.NewQuotaServiceClient(channel)
	check(quota.Repeat(20, func(ctx context.Context, options ...grpc.CallOption) error {
		owner := "owner"
		_, err := service.CreateGroup(ctx, &pb.CreateGroupRequest{
			AppId: app, GroupId: "g", Type: "Public", OwnerId: &owner}, options...)
		return err
	}))
	failure := quota.Joining(service, app, "g", "lost", []string{"lost"}, func() error { return errors.New("disk full") })
	for usage(service, app).Used > 1 {
		time.Sleep(5 * time.Millisecond)
	}
	var wait sync.WaitGroup
	var lock sync.Mutex
	members, codes := 0, []int32{}
	for number := 0; number < 30; number++ {
		user := fmt.Sprintf("u%d", number)
		wait.Add(1)
		go func() {
			defer wait.Done()
			err := quota.Joining(service, app, "g", "join-"+user, []string{user}, func() error {
				lock.Lock()
				defer lock.Unlock()
				members++
				return nil
			})
			var denied quota.Denied
			if errors.As(err, &denied) {
				lock.Lock()
				defer lock.Unlock()
				codes = append(codes, denied.ImErrorCode)
			} else {
				check(err)
			}
		}()
	}
	wait.Wait()
	seats := usage(service, app)
	fmt.Println(failure, members, len(codes), codes[0], seats.Used, seats.Held)
}
