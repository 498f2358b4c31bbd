package provision_test

import (
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/provision"
)

// A factory writes the file; the device reads it at its first start, and derives one key per purpose.
func Example() {
	unlock, err := provision.ParseAction("unlock=/door/unlock:POST")
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := (&provision.Device{
		Version: provision.Version, ID: provision.DeviceID{1, 2, 3, 4, 5, 6, 7, 8}, RootKey: [32]byte{0xa5}, // random, in earnest
		ASURIs: []string{"coap://as.example"}, Issuer: "https://as.example",
		Kind: provision.KindLock, Clock: provision.ClockRelative, Token: provision.ShapeEncrypt0,
		Actions: []provision.Action{unlock}, SenderID: []byte{1, 2, 3, 4}, RecipientID: provision.ServerSenderID,
	}).Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	device, err := provision.Parse(file)
	fmt.Println(device.Audience(), device.Rights(), err)
	key, err := device.SymmetricKey(provision.PurposeToken, provision.FirstKeyID)
	fmt.Println(key, err)
	file[40] ^= 1
	_, err = provision.Parse(file)
	var damaged *provision.DamagedError
	fmt.Println(errors.As(err, &damaged))
	// Output:
	// daebagbafaydqq /door/unlock:POST <nil>
	// [redacted] <nil>
	// true
}
