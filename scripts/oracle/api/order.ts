import { withoutAmx } from './cpuid-lists.ts'
import { FlatGuest } from './guest.ts'
import { type Session, XTILE_DATA } from './session.ts'
import { applyVariant } from './xsave-variants.ts'

const TILE_BIT = 1n << 18n
const CET_BITS = 0x1800n

/** kvm.order.LETTERS: calls that restore a vCPU, in every order. */
export function restoreOrder(session: Session, letters: string): void {
  let guest: FlatGuest | null = null
  const steps: Record<string, () => void> = {
    C: () => session.setCpuid(session.supported(), 'supported'),
    N: () => session.setCpuid(withoutAmx(session.supported(), true), 'without AMX'),
    X: () => applyVariant(session, 'bv_tile_both'),
    Y: () => applyVariant(session, 'avx512'),
    F: () => session.setMsr(0x1c4, TILE_BIT),
    f: () => session.setMsr(0x1c4, 0n),
    e: () => session.setMsr(0x1c5, TILE_BIT),
    g: () => {
      for (const index of [0x1c4, 0x1c5, 0xda0]) session.getMsr(index)
      session.getXcrs()
    },
    R: () => session.setXcr0(0x602e7n),
    r: () => session.setXcr0(7n),
    S: () => session.setMsr(0xda0, CET_BITS),
    G: () => session.dumpImage(),
    K: () => {
      if (guest === null) {
        guest = new FlatGuest(session)
        guest.setControls(0x40000)
      }
      guest.nop()
    },
  }
  session.reqGuestPerm(XTILE_DATA)
  session.createVm()
  session.createVcpu()
  for (const letter of letters) steps[letter]()
}
