import type { CpuidEntry2 } from '../../../src/vmm/cpuid-list.ts'
import { FlatGuest } from './guest.ts'
import { AMX_FEATURES, bits, type CpuidList, edit, entryFor, entryOf, type Session, XTILE_DATA } from './session.ts'
import { applyVariant } from './xsave-variants.ts'

/** What a word of a scenario's name does to the supported list. */
const EDITS: Readonly<Record<string, (list: CpuidList) => void>> = {
  supported: () => {},
  none: (list) => list.splice(0),
  xcr_cfg: (list) => edit(entryFor(list, 0xd), 'eax', bits(17)),
  xcr_data: (list) => edit(entryFor(list, 0xd), 'eax', bits(18)),
  amxbits: (list) => edit(entryFor(list, 7), 'edx', AMX_FEATURES),
  xfdbit: (list) => edit(entryFor(list, 0xd, 1), 'eax', bits(4)),
  xcr_bit8: (list) => edit(entryFor(list, 0xd), 'eax', bits(8)),
  xcr_bit19: (list) => edit(entryFor(list, 0xd), 'eax', bits(19)),
  xcr_bit62: (list) => edit(entryFor(list, 0xd), 'edx', bits(30)),
  no_x87: (list) => edit(entryFor(list, 0xd), 'eax', 0, 1),
  xss_cet: (list) => edit(entryFor(list, 0xd, 1), 'ecx', bits(11, 12)),
  xss_bit8: (list) => edit(entryFor(list, 0xd, 1), 'ecx', bits(8)),
  no_xsave: (list) => edit(entryFor(list, 1), 'ecx', 0, bits(26)),
  shstk: (list) => {
    edit(entryFor(list, 7), 'ecx', bits(7))
    edit(entryFor(list, 7), 'edx', bits(20))
  },
  vaddr40: (list) => edit(entryFor(list, 0x80000008), 'eax', 0x2828, 0xffffffff),
  vaddr57: (list) => edit(entryFor(list, 0x80000008), 'eax', 0x3928, 0xffffffff),
  maxphy52: (list) => edit(entryFor(list, 0x80000008), 'eax', 0x3034, 0xffffffff),
  drop_d: (list) => list.splice(0, list.length, ...list.filter((entry) => entry.function !== 0xd)),
  dup: (list) => list.push({ ...list[0], eax: list[0].eax ^ 1 }),
  toomany: (list) => list.push(...Array.from({ length: 257 - list.length }, () => ({ ...NOTHING }))),
}
const NOTHING = { function: 0, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 }

/** kvm.set_cpuid2.PERMISSION:WORDS */
export function setCpuid2(session: Session, name: string): void {
  const [permission, tag] = name.split(':')
  if (permission === 'P') session.reqGuestPerm(XTILE_DATA)
  session.createVm()
  session.createVcpu()
  const list = session.supported()
  for (const word of tag.split(',')) EDITS[word](list)
  session.setCpuid(list, tag)
  const read = (): CpuidEntry2[] => session.vcpu!.getCpuid2()
  session.dumpCpuid('KVM_GET_CPUID2', read)
  session.calls.call('xsave2_size', null, () => session.imageSize())
  session.dumpImage()
  for (const value of [0x602e7n, 0x202e7n, 0x2e7n, 7n]) session.setXcr0(value)
  session.getMsr(0x1c4)
  session.setMsr(0x1c4, 1n << 18n)
  session.getMsr(0x1c4)
  session.setMsr(0xda0, 0x800n)
  session.setMsr(0xda0, 0x1800n)
  session.getMsr(0xda0)
  for (const variant of ['avx512', 'bv_tilecfg', 'bv_tile_both']) applyVariant(session, variant)
  session.dumpCpuid('KVM_GET_CPUID2_after_XCR0', read)
}

/** The supported list without what makes AMX usable. */
export function withoutAmx(list: CpuidList, alsoXcr0: boolean): CpuidList {
  edit(entryOf(list, 7), 'edx', 0, AMX_FEATURES)
  if (alsoXcr0) edit(entryOf(list, 0xd), 'eax', 0, bits(17, 18))
  return list
}

/** kvm.set_cpuid2.after_run */
export function setCpuid2AfterRun(session: Session): void {
  session.profile('PC')
  const guest = new FlatGuest(session)
  guest.setControls(0x40000, true)
  session.calls.note('second SET_CPUID2 before the first KVM_RUN')
  session.setCpuid(withoutAmx(session.supported(), false), 'without AMX')
  session.setCpuid(session.supported(), 'supported')
  guest.nop()
  session.setCpuid(session.supported(), 'same after KVM_RUN')
  session.setCpuid(session.vcpu!.getCpuid2(), 'GET_CPUID2 result after KVM_RUN')
  session.setCpuid(withoutAmx(session.supported(), false), 'changed (leaf 7) after KVM_RUN')
  const shrunk = session.supported()
  edit(entryOf(shrunk, 0xd), 'eax', 0, ~7)
  session.setCpuid(shrunk, 'changed (leaf D) after KVM_RUN')
  session.setCpuid(session.supported().slice(0, -1), 'one entry fewer after KVM_RUN')
  guest.xsetbv(7n)
  session.setCpuid(session.supported(), 'supported after guest XSETBV 7')
}
