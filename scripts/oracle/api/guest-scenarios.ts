import { hex } from './calls.ts'
import { FlatGuest } from './guest.ts'
import { XCR0_VALUES } from './registers.ts'
import type { Session } from './session.ts'

const OSXSAVE = 0x40000
const MSRS = [0x1c4, 0x1c5, 0xda0, 0x33, 0xcf, 0x6a0, 0x6a2, 0x6a4, 0x6a7, 0x6a8, 0xe1, 0x10a, 0x48, 0x12345678]
const bit = (nr: number): bigint => 1n << BigInt(nr)
const VALUES = [0n, 1n, bit(8), bit(11), bit(18), bit(17) | bit(18), bit(29), bit(31), (1n << 64n) - 1n]

/** guest.regs.PROFILE: CPUID, XSETBV and MSRs as the guest meets them. */
export function guestRegisters(session: Session, profile: string): void {
  session.profile(profile === 'nocpuid' ? '' : profile)
  const guest = new FlatGuest(session)
  const { calls } = session
  const set = (arg: string, cr4: number) => calls.call('KVM_SET_SREGS', [arg], () => guest.setSregs(cr4))
  if (set('cr4.OSXSAVE', OSXSAVE) !== 0 && set('without OSXSAVE', 0) !== 0) return
  const leaf0d = () => {
    guest.cpuid(0xd, 0)
    guest.cpuid(0xd, 1)
  }
  guest.cpuid(1, 0)
  guest.cpuid(7, 0)
  leaf0d()
  for (const value of XCR0_VALUES) guest.xsetbv(value)
  guest.xgetbv(0)
  session.getXcrs()
  guest.xsetbv(7n)
  leaf0d()
  guest.xsetbv(0x602e7n)
  session.getXcrs()
  leaf0d()
  guest.xgetbv(0)
  guest.xgetbv(1)
  for (const index of MSRS) {
    guest.rdmsr(index)
    for (const value of VALUES) guest.wrmsr(index, value)
    guest.rdmsr(index)
    guest.wrmsr(index, 0n)
  }
}

/** guest.misc.PROFILE: PKRU and CR4 */
export function guestMisc(session: Session, profile: string): void {
  session.profile(profile)
  const guest = new FlatGuest(session)
  const { calls } = session
  guest.setControls(OSXSAVE, true)
  guest.run('guest_rdpkru', [0x0f, 0x01, 0xee], [0, 0, 0, 0], ['CR4.PKE=0'])
  const set = (arg: string, cr4: number) => calls.call('KVM_SET_SREGS', [arg], () => guest.setSregs(cr4))
  set('OSXSAVE|PKE', OSXSAVE | 0x400000)
  guest.xsetbv(0x207n)
  guest.cpuid(7, 0)
  guest.run('guest_wrpkru', [0x0f, 0x01, 0xef], [0x55555554, 0, 0, 0], ['0x55555554'])
  guest.run('guest_rdpkru', [0x0f, 0x01, 0xee])
  session.dumpImage()
  set('CR4.CET', OSXSAVE | 0x800000)
  guest.setControls(OSXSAVE)
  set('CR4.LA57 while paging', OSXSAVE | 0x1000)
  guest.setControls(OSXSAVE)
  for (const cr4 of CR4_VALUES) {
    guest.setControls(OSXSAVE)
    guest.run('guest_mov_cr4', [0x0f, 0x22, 0xe0], [cr4, 0, 0, 0], [hex(cr4)])
    calls.add({ cr4: hex(session.vcpu!.getSregs().cr4) })
  }
}

const CR4_VALUES: readonly (number | bigint)[] = [
  ...[0x40620, 0x620, 0x400620, 0x800620, 0x1000620, 0x2000620, 0x20620, 0x200620, 0x100620, 0x10620, 0x80620, 0x10000620],
  (1n << 32n) | 0x620n,
]
