package news_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// The server seals news for a device; whoever carries them can neither read nor change them.
func Example() {
	device := &provision.Device{ID: provision.DeviceID{1, 2, 3, 4, 5, 6, 7, 8}, RootKey: [32]byte{9}}
	down, err := device.SymmetricKey(provision.PurposeNewsDown, provision.FirstKeyID)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(1795000000, 0)
	sealed, err := news.Seal(news.News{Sequence: 7, IssuedAt: now, Items: []news.Item{news.EpochItem(3), news.TimeItem(now)}}, down, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := news.Open(sealed, down)
	fmt.Println(got.Sequence, got.Items[0].Kind, got.Items[0].Epoch, err)

	up, _ := device.SymmetricKey(provision.PurposeNewsUp, provision.FirstKeyID)
	receipt, _ := news.SealReceipt(news.Receipt{Sequence: got.Sequence, Applied: true}, up, rand.Reader)
	_, err = news.Open(receipt, down) // each direction has its own key
	fmt.Println("a receipt as news:", errors.Is(err, news.ErrProtection))
	// Output:
	// 7 epoch 3 <nil>
	// a receipt as news: true
}
