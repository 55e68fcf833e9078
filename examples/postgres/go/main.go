// Enqueues jobs inside an application's own transactions, with pgx.
//
//	DATABASE_URL=postgres://app@localhost/app go run .
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Enqueue answers the id of the job, which is there when tx commits.
func Enqueue(ctx context.Context, tx pgx.Tx, kind string, payload any, options map[string]any) (id string, err error) {
	body, err := json.Marshal(payload)
	if err != nil {
		return "", err
	}
	if options == nil {
		options = map[string]any{}
	}
	err = tx.QueryRow(ctx, "SELECT windlass.enqueue($1, $2, $3)::text", kind, json.RawMessage(body), options).Scan(&id)
	return id, err
}

func main() {
	ctx := context.Background()
	connection, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, "CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)"); err != nil {
		log.Fatal(err)
	}

	// The order and its job, or neither.
	err = pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES (17) ON CONFLICT DO NOTHING"); err != nil {
			return err
		}
		id, err := Enqueue(ctx, tx, "order.confirm", map[string]int{"order": 17}, map[string]any{"queue": "mail", "unique_key": "confirm:17"})
		fmt.Println("enqueued", id)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	// One that is wrong is refused with a sentence and a code, and nothing is written.
	err = pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) error {
		_, err := Enqueue(ctx, tx, "report.build", map[string]int{}, map[string]any{"priority": 99})
		return err
	})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "WLE05" {
		log.Fatal("it was not refused: ", err)
	}
	fmt.Println("refused", refused.Message)
}
