import * as v from 'valibot'
import { type GuestState, type MemoryState, PAGE_BYTES, type PageRun } from '../../vmm/small-vmm/guest-state.ts'
import { crc32 } from './crc32.ts'
import { type Description, descriptionV1 } from './description.ts'
import { decodeHeader, encodeHeader, FORMAT_VERSION, HEADER_BYTES } from './header.ts'
import { SnapshotError } from './snapshot-error.ts'
import { toJson } from './struct-json.ts'

/** XSAVE images: legacy region and header at least; no processor's is near the maximum. */
const MIN_XSAVE = 576
const MAX_XSAVE = 0x10000

/** A saved guest as the bytes of a file: header, description (JSON), data. */
export function encodeSnapshot(state: GuestState): Uint8Array {
  const parts: Uint8Array[] = []
  let length = 0
  const place = (bytes: Uint8Array) => {
    const at = { offset: length, length: bytes.length }
    parts.push(bytes)
    length += bytes.length
    return at
  }
  const { vcpu } = state
  const description = new TextEncoder().encode(
    JSON.stringify({
      savedOn: state.savedOn,
      clock: toJson(state.clock),
      vcpu: {
        cpuid: toJson(vcpu.cpuid),
        regs: toJson(vcpu.regs),
        sregs: toJson(vcpu.sregs),
        msrs: toJson(vcpu.msrs.map(({ index, data }) => ({ index, data }))),
        ...(vcpu.guestSsp === null ? {} : { guestSsp: toJson(vcpu.guestSsp) }),
        xcr0: vcpu.xcr0 === null ? null : toJson(vcpu.xcr0),
        xsave: place(vcpu.xsave),
        events: toJson(vcpu.events),
        debugregs: toJson(vcpu.debugregs),
        mpState: vcpu.mpState,
        tscKhz: vcpu.tscKhz,
      },
      memory: state.memory.map(({ slot, guestPhysAddr, size, runs }) => ({
        slot,
        guestPhysAddr,
        size,
        runs: runs.map((run) => ({ firstPage: run.firstPage, at: place(run.bytes) })),
      })),
    }),
  )
  const file = new Uint8Array(HEADER_BYTES + description.length + length)
  file.set(description, HEADER_BYTES)
  let at = HEADER_BYTES + description.length
  for (const part of parts) {
    file.set(part, at)
    at += part.length
  }
  const crc = crc32(file.subarray(HEADER_BYTES))
  file.set(encodeHeader({ version: FORMAT_VERSION, crc, descriptionBytes: description.length, dataBytes: length }))
  return file
}

/** Page contents are views of `file`. @throws SnapshotError */
export function decodeSnapshot(file: Uint8Array): GuestState {
  const header = decodeHeader(file)
  const body = file.subarray(HEADER_BYTES)
  if (crc32(body) !== header.crc) throw new SnapshotError('damaged', 'the checksum does not match: the file is damaged')
  const description = parseDescription(body.subarray(0, header.descriptionBytes))
  const data = body.subarray(header.descriptionBytes)
  const { vcpu } = description
  const xsave = bytesAt(data, vcpu.xsave, 'vcpu.xsave')
  if (xsave.length < MIN_XSAVE || xsave.length > MAX_XSAVE) throw malformed(`vcpu.xsave has ${xsave.length} bytes`)
  const memory = description.memory.map((region, i) => readRegion(region, data, `memory.${i}`))
  return { savedOn: description.savedOn, clock: description.clock, vcpu: { ...vcpu, xsave }, memory }
}

function parseDescription(bytes: Uint8Array): Description {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw malformed(`the description is not JSON: ${(error as Error).message}`)
  }
  const parsed = v.safeParse(descriptionV1, json, { abortEarly: true })
  if (parsed.success) return parsed.output
  const [issue] = parsed.issues
  throw malformed(`${v.getDotPath(issue) ?? 'the description'}: ${issue.message}`)
}

const malformed = (because: string): SnapshotError => new SnapshotError('malformed', because)

function bytesAt(data: Uint8Array, at: { offset: number; length: number }, what: string): Uint8Array {
  if (at.offset + at.length > data.length) throw malformed(`${what} lies outside the data`)
  return data.subarray(at.offset, at.offset + at.length)
}

/** Runs must be whole pages, in order, without overlap, inside the region. */
function readRegion(region: Description['memory'][number], data: Uint8Array, what: string): MemoryState {
  const runs: PageRun[] = []
  let next = 0
  for (const [i, run] of region.runs.entries()) {
    const bytes = bytesAt(data, run.at, `${what}.runs.${i}`)
    const end = run.firstPage + bytes.length / PAGE_BYTES
    if (bytes.length % PAGE_BYTES !== 0 || bytes.length === 0) throw malformed(`${what}.runs.${i} is not made of whole pages`)
    if (run.firstPage < next) throw malformed(`${what}.runs.${i} overlaps or precedes the one before it`)
    if (end > region.size / PAGE_BYTES) throw malformed(`${what}.runs.${i} ends beyond the region`)
    runs.push({ firstPage: run.firstPage, bytes })
    next = end
  }
  return { slot: region.slot, guestPhysAddr: region.guestPhysAddr, size: region.size, runs }
}
