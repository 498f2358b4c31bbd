package trl_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/trl"
)

// A lock asks which of its tokens were revoked since it asked last.
func Example() {
	seen := uint64(41)
	updates := trl.Collection{Updates: []trl.Update{
		{Index: 41, Added: []trl.Hash{{1, 0xaa}}},
		{Index: 42, Added: []trl.Hash{{1, 0xbb}}},
	}}
	query, err := updates.ParseQuery(trl.Query{Diff: new(uint64), Cursor: &seen}.Encode())
	if err != nil {
		panic(err)
	}
	answer, err := updates.Answer(query)
	if err != nil {
		panic(err)
	}
	payload, err := answer.Encode()
	if err != nil {
		panic(err)
	}
	told, err := trl.ParseAnswer(payload)
	fmt.Printf("%x, next time from %d, %v\n", told.Diffs[0].Added, *told.Cursor, err)
	// Output: [01bb], next time from 42, <nil>
}
