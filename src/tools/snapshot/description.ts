import * as v from 'valibot'
import { kvm_debugregs, kvm_regs, kvm_sregs, kvm_vcpu_events } from '../../kvm/abi/structs.ts'
import { PAGE_BYTES } from '../../vmm/small-vmm/guest-state.ts'
import { hex64, size, structSchema, u32 } from './struct-json.ts'

/**
 * The description of a saved guest, version 1: named fields; bytes are a place in the data. A field that is null was not there
 * on the host that saved, which is not the same as zero.
 */

/** Bytes in the data. */
const place = v.strictObject({ offset: size, length: size })

const cpuidEntry = v.strictObject({ function: u32, index: u32, flags: u32, eax: u32, ebx: u32, ecx: u32, edx: u32 })

const vcpu = v.strictObject({
  cpuid: v.pipe(v.array(cpuidEntry), v.maxLength(256)),
  regs: structSchema(kvm_regs),
  sregs: structSchema(kvm_sregs),
  msrs: v.pipe(v.array(v.strictObject({ index: u32, data: hex64 })), v.maxLength(4096)),
  /** Not in files of versions that had no CET for guests. */
  guestSsp: v.optional(v.nullable(hex64), null),
  xcr0: v.nullable(hex64),
  xsave: place,
  events: structSchema(kvm_vcpu_events),
  debugregs: structSchema(kvm_debugregs),
  mpState: u32,
  tscKhz: u32,
})

const pages = v.pipe(size, v.multipleOf(PAGE_BYTES))
const region = v.strictObject({
  slot: u32,
  guestPhysAddr: pages,
  size: pages,
  runs: v.array(v.strictObject({ firstPage: size, at: place })),
})

export const descriptionV1 = v.strictObject({
  savedOn: v.pipe(v.string(), v.maxLength(200)),
  clock: hex64,
  vcpu,
  memory: v.pipe(v.array(region), v.minLength(1), v.maxLength(64)),
})

export type Description = v.InferOutput<typeof descriptionV1>
