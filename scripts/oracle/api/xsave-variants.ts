import { hex } from './calls.ts'
import { standardOffset } from './host-layout.ts'
import type { Session } from './session.ts'

/** What a variant does to the image that KVM_GET_XSAVE2 gave before it is given back. */
interface Variant {
  /** XSTATE_BV instead of what is there, or bits added to it. */
  readonly bv?: bigint
  readonly or?: bigint
  readonly xcompBv?: bigint
  /** Reserved header byte that becomes 1. */
  readonly reserved?: number
  readonly mxcsr?: number
  readonly fill?: Fill
}

/** `data`: every component gets contents; `bad palette`: and the tile configuration an unknown palette. */
type Fill = 'data' | 'bad palette' | 'pkru' | 'software bytes' | 'mxcsr mask' | 'x87 garbage'

const bit = (nr: number): bigint => 1n << BigInt(nr)
const ALL = (1n << 64n) - 1n
const TILES = bit(17) | bit(18)
const BAD_MXCSR = 0xffffffff

export const VARIANTS: Readonly<Record<string, Variant>> = {
  same: {},
  x87_sse: { bv: 3n, fill: 'data' },
  x87_only: { bv: 1n, fill: 'data' },
  sse_only: { bv: 2n, fill: 'data' },
  ymm: { bv: 7n, fill: 'data' },
  avx512: { bv: 0xe7n, fill: 'data' },
  bv0_garbage_legacy: { bv: 0n, fill: 'data' },
  bv_bit3: { or: bit(3) },
  bv_bit4: { or: bit(4) },
  bv_bit5: { or: bit(5), fill: 'data' },
  bv_bit8: { or: bit(8) },
  bv_pkru: { or: bit(9), fill: 'data' },
  bv0_pkru_garbage: { bv: 0n, fill: 'pkru' },
  bv_bit10: { or: bit(10) },
  bv_cet_u: { or: bit(11) },
  bv_cet_s: { or: bit(12) },
  bv_tilecfg: { or: bit(17), fill: 'data' },
  bv_tiledata: { or: bit(18), fill: 'data' },
  bv_tile_both: { or: TILES, fill: 'data' },
  bv_tilecfg_invalid: { or: TILES, fill: 'bad palette' },
  bv_bit19: { or: bit(19) },
  bv_bit62: { or: bit(62) },
  bv_bit63: { or: bit(63) },
  bv_all: { bv: ALL },
  xcomp_1: { xcompBv: 1n },
  xcomp_63: { xcompBv: bit(63) },
  xcomp_compacted: { xcompBv: bit(63) | 7n, bv: 7n, fill: 'data' },
  rsvd_first: { reserved: 528 },
  rsvd_mid: { reserved: 540 },
  rsvd_last: { reserved: 575 },
  mxcsr_ffffffff: { mxcsr: BAD_MXCSR, bv: 3n },
  mxcsr_ffff: { mxcsr: 0xffff, bv: 3n },
  mxcsr_10000: { mxcsr: 0x11f80, bv: 3n },
  mxcsr_bad_bv0: { mxcsr: BAD_MXCSR, bv: 0n },
  mxcsr_bad_bv1: { mxcsr: BAD_MXCSR, bv: 1n },
  mxcsr_bad_bv4: { mxcsr: BAD_MXCSR, bv: 4n },
  mxcsr_1fa0_bv0: { mxcsr: 0x1fa0, bv: 0n },
  mxcsr_1fa0_bv4: { mxcsr: 0x1fa0, bv: 4n },
  sw_reserved_garbage: { fill: 'software bytes' },
  mxcsr_mask_garbage: { fill: 'mxcsr mask' },
  fcw_garbage_bv1: { bv: 1n, fill: 'x87 garbage' },
}

/** kvm.set_xsave.PROFILE.VARIANT */
export function setXsave(session: Session, profile: string, variant: string): void {
  session.profile(profile)
  applyVariant(session, variant)
  session.dumpImage()
}

/** GET, change, SET. */
export function applyVariant(session: Session, name: string): void {
  const variant = VARIANTS[name]
  const size = session.imageSize()
  session.getImage()
  const { image } = session
  const view = new DataView(image.buffer)
  const bv = variant.bv ?? view.getBigUint64(512, true) | (variant.or ?? 0n)
  if (variant.fill !== undefined) fill(session, variant.fill, size)
  view.setBigUint64(512, bv, true)
  if (variant.xcompBv !== undefined) view.setBigUint64(520, variant.xcompBv, true)
  if (variant.reserved !== undefined) image[variant.reserved] = 1
  if (variant.mxcsr !== undefined) view.setUint32(24, variant.mxcsr, true)
  const set = () => session.process.ioctlTakes(session.vcpu!.fd, 'KVM_SET_XSAVE', image)
  session.calls.call('KVM_SET_XSAVE', [name], set, () => ({ xstate_bv: hex(bv) }))
}

/** A tile configuration with all eight tiles of full size. */
export function fullTileConfig(palette = 1): Uint8Array {
  const config = new Uint8Array(64)
  config[0] = palette
  for (let tile = 0; tile < 8; tile++) {
    config[16 + tile * 2] = 64
    config[48 + tile] = 16
  }
  return config
}

const PKRU = Uint8Array.of(0x54, 0x55, 0x55, 0x55)

function fill({ image, host }: Session, what: Fill, size: number): void {
  const put = (component: number, bytes: Uint8Array) => {
    const place = standardOffset(host, component)
    if (place !== null && place.offset + Math.max(bytes.length, place.size) <= size) image.set(bytes, place.offset)
  }
  if (what === 'software bytes') image.fill(0xee, 464, 512)
  else if (what === 'mxcsr mask') image.fill(0xee, 28, 32)
  else if (what === 'x87 garbage') image.set([0xff, 0xff, image[2], image[3], 0xff])
  else if (what === 'pkru') put(9, PKRU)
  else {
    image.set([0x7e, 3])
    for (let i = 0; i < 16; i++) image[160 + i] = 0x10 + i
    for (let i = 0; i < 10; i++) image[32 + i] = 0x41 + i
    for (let nr = 2; nr < 19; nr++) if (nr !== 9 && nr !== 17) put(nr, new Uint8Array(8).fill(0xc0 + nr))
    put(9, PKRU)
    put(17, fullTileConfig(what === 'bad palette' ? 2 : 1))
  }
}
