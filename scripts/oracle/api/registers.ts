import { kvm_xcrs } from '../../../src/kvm/abi/structs.ts'
import { answerOf, type Call, hex } from './calls.ts'
import type { Session } from './session.ts'

const bit = (nr: number): bigint => 1n << BigInt(nr)
const ALL = (1n << 64n) - 1n

/** Values for XCR0. */
export const XCR0_VALUES: readonly bigint[] = [
  ...[0, 1, 2, 3, 5, 7, 6, 0xb, 0x1b, 0x1f, 0x23, 0x27, 0x67, 0xe3, 0xe7, 0x203, 0x207, 0x2e7, 0x2ff, 0x107, 0x807, 0x1807],
  ...[0x20007, 0x40007, 0x60003, 0x60007, 0x600e7, 0x202e7, 0x402e7, 0x602e7, 0x602ff, 0xe02e7],
]
  .map(BigInt)
  .concat(7n | bit(62), 7n | bit(63), ALL)

/** kvm.set_xcrs.PROFILE */
export function setXcrs(session: Session, profile: string): void {
  session.profile(profile)
  session.getXcrs()
  for (const value of XCR0_VALUES) {
    session.setXcr0(value)
    session.calls.add({ now: hex(session.readXcrs().xcrs[0].value) })
    session.setXcr0(1n)
  }
  const set = (arg: string, xcrs: Parameters<typeof encoded>[1]) => encoded(session, xcrs, arg)
  set('xcr=1', { nr_xcrs: 1, xcrs: [{ xcr: 1, value: 7n }] })
  session.getXcrs()
  set('nr=0', { nr_xcrs: 0 })
  set('nr=17', { nr_xcrs: 17 })
  set('nr=16,xcr0=3 first', { nr_xcrs: 16, xcrs: [{ xcr: 0, value: 3n }] })
  session.getXcrs()
  set('flags=1', { nr_xcrs: 1, flags: 1, xcrs: [{ xcr: 0, value: 1n }] })
  session.getXcrs()
  const five = { xcr: 5, value: 9n }
  set('xcr 5 then 0', { nr_xcrs: 2, xcrs: [five, { xcr: 0, value: 1n }] })
  session.getXcrs()
}

interface Xcrs {
  nr_xcrs: number
  flags?: number
  xcrs?: { xcr: number; value: bigint }[]
}
function encoded(session: Session, xcrs: Xcrs, arg: string): void {
  session.calls.call('KVM_SET_XCRS', [arg], () => session.process.set(session.vcpu!.fd, 'KVM_SET_XCRS', kvm_xcrs, xcrs))
}

/** Values for MSRs. */
const MSR_VALUES: readonly bigint[] = [
  ...[0, 1, 2, 4, 8, 0x20, 0x3f, 0x7f].map(BigInt),
  ...[bit(8), bit(11), bit(12), bit(11) | bit(12), bit(17), bit(18), bit(17) | bit(18), bit(29), bit(31)],
  ...[0x1003n, 0x1008n, 0x1004n, 0x7ffffffff008n, 0x800000000000n, 0xffff800000000000n, bit(63), ALL],
]

/** kvm.msr.PROFILE.INDEX: each value written, read back, and 0 written again. */
export function setMsrValues(session: Session, profile: string, name: string): void {
  const index = Number(name)
  session.profile(profile)
  session.getMsr(index)
  for (const data of MSR_VALUES) {
    session.setMsr(index, data, () => readBack(session, index))
    answerOf(() => session.vcpu!.setMsrs([{ index, data: 0n }]))
  }
}

function readBack({ vcpu }: Session, index: number): Call {
  let value: bigint | undefined
  const { ret } = answerOf(() => {
    const entries = vcpu!.getMsrs([index])
    value = entries[0]?.data
    return entries.length
  })
  return value === undefined ? { then_ret: ret } : { ['then' as string]: hex(value) }
}
