// Package quota calls imquota as an IM server does.
package quota

import (
	"context"
	"errors"
	"math/rand"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "imquota.dev/imquota/v1"
)

const attemptTimeout, attempts, forever = 500 * time.Millisecond, 4, 1 << 30

// Denied is a limit that is reached: ImErrorCode goes to the IM's client, unchanged.
type Denied struct{ *pb.Denial }

func (d Denied) Error() string { return d.Message }

// Dial connects to HOST:PORT or unix:PATH, and reconnects soon.
func Dial(address string) (*grpc.ClientConn, error) {
	pauses := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	options := []grpc.DialOption{grpc.WithInsecure(), grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses})}
	if strings.HasPrefix(address, "unix:") {
		options = append(options, grpc.WithAuthority("localhost"))
	}
	return grpc.Dial(address, options...)
}

func isUnknown(err error) bool {
	return status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
}

// Repeat makes attempts with a deadline each. A repetition is safe: it counts once.
func Repeat(most int, call func(context.Context, ...grpc.CallOption) error) error {
	for attempt := 1; ; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
		err := call(ctx, grpc.WaitForReady(true))
		cancel()
		if !isUnknown(err) || attempt == most {
			return err
		}
		time.Sleep(time.Duration(rand.Int63n(int64(25*time.Millisecond) << uint(attempt%6))))
	}
}

// Joining takes places, commits, and confirms; if the commit fails it releases. `operation` is a new id, such as a UUID.
func Joining(quota pb.QuotaServiceClient, app, group, operation string, users []string, commit func() error) error {
	var taken *pb.JoinGroupResponse
	seconds := uint32(60)
	take := &pb.JoinGroupRequest{AppId: app, GroupId: group, UserIds: users, AllOrNothing: true,
		HoldSeconds: &seconds, OperationId: operation} // the same one in each attempt
	release := func() { // in the background; else the hold ends by itself
		_ = Repeat(forever, func(ctx context.Context, options ...grpc.CallOption) error {
			_, err := quota.ReleaseHold(ctx, &pb.ReleaseHoldRequest{AppId: app, OperationId: operation}, options...)
			return err
		})
	}
	err := Repeat(attempts, func(ctx context.Context, options ...grpc.CallOption) (err error) {
		taken, err = quota.JoinGroup(ctx, take, options...)
		return err
	})
	if isUnknown(err) {
		time.AfterFunc(attemptTimeout, release) // once no attempt can be carried out any more
	}
	if err != nil {
		return err
	}
	isNew := false
	for _, result := range taken.Results {
		if len(result.Denials) > 0 {
			return Denied{result.Denials[0]}
		}
		isNew = isNew || result.Outcome == pb.Outcome_OUTCOME_APPLIED
	}
	if err := commit(); err != nil {
		go release()
		return err
	}
	if !isNew || taken.Decision.Degradation != "" { // members already, or permanent already
		return nil
	}
	return Repeat(forever, func(ctx context.Context, options ...grpc.CallOption) error {
		confirm := &pb.ConfirmHoldRequest{AppId: app, OperationId: operation}
		ended, err := quota.ConfirmHold(ctx, confirm, options...)
		for _, result := range ended.GetResults() {
			if result.Outcome >= pb.HoldOutcome_HOLD_OUTCOME_DENIED && result.Outcome != pb.HoldOutcome_HOLD_OUTCOME_RELEASED {
				return errors.New("the hold ended before: undo the commit")
			}
		}
		return err
	})
}
