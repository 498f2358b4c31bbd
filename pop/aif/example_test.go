package aif_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/aif"
)

// What a guest may do is what he asked for, as far as his host may grant it.
func Example() {
	asked, err := aif.ParseText("/door:GET,POST /alarm:PUT")
	if err != nil {
		fmt.Println(err)
		return
	}
	grantable := aif.New(aif.Entry{Path: "/door", Methods: aif.GET | aif.POST | aif.PUT})
	granted := asked.Intersect(grantable)
	encoded, _ := granted.Encode() // the bytes of a CWT's scope claim
	fmt.Printf("granted %s (%x), refused %s\n", granted, encoded, asked.Without(grantable))
	fmt.Println("POST /door:", granted.Allows("/door", aif.POST))
	fmt.Println("PUT /door:", granted.Allows("/door", aif.PUT))
	fmt.Println("GET /door/log:", granted.Allows("/door/log", aif.GET))
	// Output:
	// granted /door:GET,POST (8182652f646f6f7203), refused /alarm:PUT
	// POST /door: allowed
	// PUT /door: method not allowed
	// GET /door/log: path unknown
}

// A right to make coffee may hold rights to the coffee that was made.
func ExampleRights_Created() {
	rights, err := aif.ParseText("/a/make-coffee:POST,Dynamic-GET,Dynamic-DELETE")
	if err != nil {
		fmt.Println(err)
		return
	}
	mine := rights.Created("/a/make-coffee", "/coffee/7") // after a 2.01 with Location-Path coffee, 7
	fmt.Println(mine)
	// Output: /coffee/7:GET,DELETE
}
