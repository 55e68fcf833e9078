// Enqueues jobs with go-redis: by the function, which answers, and by the inbox, which any Redis takes.
//
//	REDIS_URL=redis://producer:password@localhost:6379/0 go run -mod=mod .
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

type envelope map[string]any

type producer struct {
	server *redis.Client
	prefix string
}

// enqueue answers the ids of the jobs: all of them are there once it returns, or none.
func (p producer) enqueue(ctx context.Context, queue string, jobs ...envelope) ([]string, error) {
	arguments := make([]any, len(jobs))
	for i, job := range jobs {
		text, err := json.Marshal(job)
		if err != nil {
			return nil, err
		}
		arguments[i] = text
	}
	key := fmt.Sprintf("%s:{%s}", p.prefix, queue)
	answer, err := p.server.FCall(ctx, "windlass_enqueue", []string{key}, arguments...).Slice()
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(answer))
	for i, id := range answer {
		ids[i] = id.(string)
	}
	return ids, nil
}

func main() {
	ctx := context.Background()
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	p := producer{server: redis.NewClient(options), prefix: "windlass"}
	if prefix, ok := os.LookupEnv("WINDLASS_PREFIX"); ok {
		p.prefix = prefix
	}

	confirm := envelope{"kind": "order.confirm", "payload": envelope{"order": 17}, "unique_key": "confirm:17"}
	first, err := p.enqueue(ctx, "mail", confirm)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("enqueued", first[0])

	// Once more: the same key, the same job.
	again, err := p.enqueue(ctx, "mail", confirm)
	if err != nil || again[0] != first[0] {
		log.Fatal("another job: ", again, err)
	}

	// Many at once; one that is wrong is named, and nothing is written.
	var reports []envelope
	for n := range 3 {
		reports = append(reports, envelope{"kind": "report.build", "payload": envelope{"n": n}})
	}
	many, err := p.enqueue(ctx, "reports", reports...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("enqueued", len(many))
	_, err = p.enqueue(ctx, "reports", envelope{"kind": "report.build", "payload": envelope{}, "priority": 99})
	code, message, _ := strings.Cut(fmt.Sprint(err), " ")
	if code != "WINDLASS_OUT_OF_RANGE" {
		log.Fatal(err)
	}
	fmt.Println("refused", message)

	// Nobody answers here, and nobody has to be there: a daemon takes it in when it runs.
	left, _ := json.Marshal(envelope{"kind": "report.build", "payload": envelope{"n": 3}, "queue": "reports"})
	if err := p.server.LPush(ctx, p.prefix+":inbox", left).Err(); err != nil {
		log.Fatal(err)
	}
}
