// How often a second the typed API does what a VMM does most. One process of its own; prints one JSON object.
import { perSecond, startGuest } from './guest.ts'

/** 1: out %al, $0x10; inc %eax; jmp 1b */
const GUEST_CODE = [0xe6, 0x10, 0xff, 0xc0, 0xeb, 0xfa]
const PORT = 0x10

const vcpu = startGuest(GUEST_CODE, true)
let written = 0
const exits = perSecond(1000, () => {
  for (let i = 0; i < 1000; i++) {
    const exit = vcpu.run()
    if (exit.reason !== 'io' || exit.port !== PORT || exit.value !== (written++ & 0xff))
      throw new Error(`unexpected exit ${exit.reason}`)
  }
})
const image = vcpu.getXsave2()
const getXsave2 = perSecond(100, () => {
  for (let i = 0; i < 100; i++) vcpu.getXsave2(image)
})
const setXsave = perSecond(100, () => {
  for (let i = 0; i < 100; i++) vcpu.setXsave(image)
})
process.stdout.write(`${JSON.stringify({ exits, getXsave2, setXsave, imageBytes: image.bytes.length })}\n`)
